"""Rollouts: action chunks, joints that the policy does not control, and episode metrics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from run_records import last_stages

from rgb2act_core.errors import UserError
from rgb2act_core.evaluation.episode_metrics import episode_facts
from rgb2act_core.evaluation.rollout_files import read_rollout, rollout_path
from rgb2act_core.pipeline import chain
from rgb2act_core.policy.action_chunks import ActionChunker
from rgb2act_core.policy.batch_planner import BatchPlanner, Candidates, open_encoders
from rgb2act_core.policy.config import PolicyConfig
from rgb2act_core.policy.history import ObservationHistory
from rgb2act_core.policy.rollout import Rollout, full_actions
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec import Act
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

SpecFile = Callable[..., Path]
DIFFUSION = {"use": "diffusion", "mlp": {"width": 16, "blocks": 1}}
HOLD = {"gripper": False, "gripper_when_absent": "hold"}


def stage_path(root: Path, stage: str) -> Path:
    stages = last_stages(root, "puppet")
    (found,) = [s["path"] for s in stages if s["stage"] == stage]
    return root / str(found)


def results(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stage_path(root, "act") / "stage.json").read_text())
    return dict(found["results"])


@pytest.mark.usefixtures("puppet")
def test_idle_arms_hold_their_first_pose_and_grippers_their_newest_position(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(puppet_root))
    spec = spec_file(
        environment={"use": "puppet", "slack": 0.25},
        policy={"condition": "proprio_only", "arms": "left", "n_action_steps": 3, **HOLD},
        act={"episodes": 1, "parallel_episodes": 1, "first_seed": 7, "videos": 0},
    )
    chain.run_pipeline(read_spec(spec), puppet_root)
    lines = (puppet_root / "7.jsonl").read_text().splitlines()
    executed_TA = np.array([json.loads(line) for line in lines], np.float32)
    env = read_spec(spec).environment.build().make()
    first = env.reset(seed=7)[0]["joints"]
    rests = np.tile(first[2:], (11, 1))  # the right arm and its gripper
    np.testing.assert_array_equal(executed_TA[:, 2:], rests)
    # within the three steps of a plan it opened from the position that it held before
    opened = np.arange(11) // 3 * 0.25
    np.testing.assert_allclose(
        executed_TA[:, 1], first[1] + opened, rtol=1e-5
    )  # float32 sums of two


@pytest.mark.usefixtures("puppet")
def test_actions_are_padded_to_all_action_dimensions(puppet_root: Path) -> None:
    shape = load_policy(stage_path(puppet_root, "train")).config
    shape = attrs.evolve(shape, action_index=(2,))
    first, newest = np.arange(4, dtype=np.float32), 10 + np.arange(4, dtype=np.float32)
    moved = np.array([[-1], [-2]], np.float32)
    actions = full_actions(shape, moved, first, newest)
    assert actions.tolist() == [[0, 1, -1, 13], [0, 1, -2, 13]]


# --- clipping ---


@pytest.mark.usefixtures("puppet")
def test_clipping_of_joints_is_reported(
    spec_file: SpecFile, puppet_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shares = []
    for clip in ({"clip_range": 0.01}, {"clip_range": 100.0}, {"clip_sample": False}):
        head = {**DIFFUSION, **clip}
        chain.run_pipeline(
            read_spec(spec_file(policy={"head": head}, act={"videos": 0})), puppet_root
        )
        shares.append(results(puppet_root)["smoothness"].get("clipped_steps"))
        printed = capfd.readouterr().err
        tight = len(shares) == 1
        assert ("action clipping changed a joint" in printed) == tight
        assert ("demonstrated actions are outside" in printed) == tight
    assert shares[0] > 0.9
    assert shares[1:] == [0, None]


def small_rollout(candidates: int) -> Rollout:
    """Return an episode of a policy with plans of four steps, of which two are executed."""
    names = ("left_joint_0", "left_joint_1", "left_gripper")
    shape = PolicyConfig(
        condition="proprio_only",
        proprio=True,
        parts=(),
        tokens=None,
        states=(),
        cameras=(),
        image=(1, 1),
        action_names=names,
        action_index=(0, 1, 2),
        horizon=4,
        n_obs_steps=1,
        n_action_steps=2,
    )
    history = ObservationHistory(1, 1)
    history.add(np.zeros((1, 1, 1, 1, 3), np.uint8), np.zeros((1, 3), np.float32))
    plans = ActionChunker(Act(candidates=candidates), np.ones(3, np.float32))
    return Rollout(shape, history, torch.Generator(), plans, np.zeros(3, np.float32))


@pytest.mark.parametrize("candidates", [1, 3])
def test_clipping_counts_only_joints_in_executed_steps(candidates: int) -> None:
    rollout = small_rollout(candidates)
    plans_PSA = np.arange(candidates, dtype=np.float32).repeat(12).reshape(candidates, 4, 3)
    clipped_by_PSA = np.zeros_like(plans_PSA)
    clipped_by_PSA[0, 1, 1] = 0.06  # counted: a joint in an executed step
    clipped_by_PSA[0, 0, 0] = 0.04  # little
    clipped_by_PSA[0, 0, 2] = 1.0  # a gripper
    clipped_by_PSA[0, 2:, 0] = 1.0  # not executed
    clipped_by_PSA[1:] = 1.0  # not selected
    for clipped_by in (clipped_by_PSA, np.zeros_like(clipped_by_PSA)):
        rollout.next(Candidates(actions_PSA=plans_PSA, clipped_by_PSA=clipped_by))
    assert episode_facts(rollout, np.zeros((5, 0, 3), np.float32))["clipped_steps"] == 0.25
    assert episode_facts(rollout, np.zeros((2, 0, 3), np.float32))["clipped_steps"] == 0.0


def test_an_episode_keeps_no_plans_of_other_candidates_and_episodes() -> None:
    rollout, of_batch_BPSA = small_rollout(3), np.zeros((5, 3, 4, 3), np.float32)
    rollout.next(Candidates(actions_PSA=of_batch_BPSA[1], clipped_by_PSA=of_batch_BPSA[2]))
    assert all(kept.base is None for kept in (*rollout.plans, *rollout.clipped_by))


# --- warm start ---


@pytest.mark.usefixtures("puppet")
def test_warm_start_reduces_seams(spec_file: SpecFile, puppet_root: Path) -> None:
    seams = []
    for level in (0.0, 0.3):
        spec = spec_file(policy={"head": DIFFUSION, "steps": 200}, act={"warm_start": level})
        chain.run_pipeline(read_spec(spec), puppet_root)
        seams.append(results(puppet_root)["smoothness"]["seam"])
    assert seams[1] < seams[0]


@pytest.mark.usefixtures("puppet")
def test_episodes_are_reproducible_with_all_act_options(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    act = {"warm_start": 0.3, "candidates": 3, "temporal_ensemble": True}
    found = []
    for _ in range(2):
        chain.run_pipeline(read_spec(spec_file(policy={"head": DIFFUSION}, act=act)), puppet_root)
        found.append(results(puppet_root)["episodes"])
        shutil.rmtree(stage_path(puppet_root, "act"))
    assert found[0] == found[1]


@pytest.mark.usefixtures("puppet")
def test_warm_started_and_cold_slots_share_a_batch(spec_file: SpecFile, puppet_root: Path) -> None:
    spec = spec_file(policy={"head": DIFFUSION, "condition": "proprio_only"})
    chain.run_pipeline(read_spec(spec), puppet_root, "train")
    policy = load_policy(stage_path(puppet_root, "train"))
    planner = BatchPlanner(policy, open_encoders(policy, [], "cpu"), 2, "cpu")
    histories = {slot: planner.history() for slot in range(2)}
    for slot, history in histories.items():
        history.add(np.zeros((1, 1, 8, 8, 3), np.uint8), np.full((1, 4), slot, np.float32))
    planner.see(list(histories.values()))

    def draw(starts: Mapping[int, Any] = {}, level: float = 1.0) -> dict[int, Any]:
        generators = {slot: torch.Generator().manual_seed(slot) for slot in histories}
        plans = planner.plan(histories, generators, 2, starts, level)
        return {slot: candidates.actions_PSA for slot, candidates in plans.items()}

    cold = draw()
    start = cold[1][0] + 0.1
    mixed = draw({1: start}, 0.2)
    assert np.array_equal(mixed[0], cold[0])
    assert np.abs(mixed[1] - start).mean() < np.abs(mixed[1] - cold[1]).mean() + 0.2
    assert not np.array_equal(mixed[1], cold[1])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({}, "head 'puppet' cannot start from the previous plan; set warm_start = 0"),
        ({"n_action_steps": 4}, "n_action_steps equals horizon"),
    ],
)
def test_impossible_warm_start_is_rejected_before_any_work(
    spec_file: SpecFile, tmp_path: Path, policy: dict[str, Any], words: str
) -> None:
    spec = read_spec(spec_file(policy=policy, act={"warm_start": 0.5}))
    with pytest.raises(UserError, match=f"act.warm_start: .*{words}"):
        chain.run_pipeline(spec, tmp_path)
    assert not (tmp_path / "store").exists()


# --- episode metrics ---


@pytest.mark.usefixtures("puppet")
def test_hands_are_tracked_if_the_environment_reports_their_positions(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(environment={"use": "puppet", "hands": True, "recorded": 3})
    chain.run_pipeline(read_spec(spec), tmp_path)
    found = results(tmp_path)
    # moves away from step 5 on and returns at step 10
    assert {e["hand_jumps"] for e in found["episodes"]} == {2}
    assert {e["hand_rewinds"] for e in found["episodes"]} == {1}
    assert found["smoothness"]["largest_hand_step"] == 1.0
    rollout = read_rollout(rollout_path(stage_path(tmp_path, "act"), seed=0))
    curves = rollout.curves()
    assert curves["hands"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    assert len(curves["joints"]) == 10
    assert len(curves["seams"]) == found["episodes"][0]["plans"] - 1 == len(rollout.plans) - 1
    assert rollout.joints.shape == (len(rollout.observed), 4)
    assert rollout.plan_steps.tolist() == list(range(0, rollout.steps, rollout.chunk))
