"""The planner that plans one episode, from raw frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from run_records import last_stages

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.policy.batch_planner import BatchPlanner
from rgb2act_core.policy.planner import Planner, load_planner
from rgb2act_core.policy.saving import saved_backbones
from rgb2act_core.serving.sessions import Session, Sessions
from rgb2act_core.spec import Act
from rgb2act_core.spec.reader import read_spec

SpecFile = Callable[..., Path]


def policy_folder(root: Path) -> Path:
    stages = last_stages(root, "puppet")
    (path,) = [stage["path"] for stage in stages if stage["stage"] == "train"]
    return root / str(path)


@pytest.fixture
def planner(puppet: None, puppet_done: Path) -> Planner:
    return load_planner(policy_folder(puppet_done), device="cpu")


def act_in(env: Any, planner: Planner, seed: int) -> list[list[float]]:
    """Return the actions that a planner executes in one episode."""
    observation, _ = env.reset(seed=seed)
    planner.reset(seed=seed)
    planner.observe(observation["rgb"], observation["joints"])
    executed: list[list[float]] = []
    while True:
        for action in planner.act():
            executed.append(action.tolist())
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                return executed
            planner.observe(observation["rgb"], observation["joints"])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("condition", "timing"),
    [("aligned", {}), ("proprio_only", {"delay": 1, "continuation": "freeze"})],
)
def test_planner_acts_like_the_evaluation(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    timing: dict[str, Any],
) -> None:
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(puppet_root))
    act = {"episodes": 1, "parallel_episodes": 1, "first_seed": 7, "videos": 0, "candidates": 2}
    act |= timing
    head = {"use": "diffusion", "mlp": {"width": 16, "blocks": 1}}
    policy = {"condition": condition, "n_obs_steps": 2, "n_action_steps": 3, "head": head}
    spec = read_spec(spec_file(policy=policy, act=act))
    chain.run_pipeline(spec, puppet_root)
    monkeypatch.delenv("RGB2ACT_PUPPET_LOG")
    lines = (puppet_root / "7.jsonl").read_text().splitlines()
    planner = load_planner(policy_folder(puppet_root), act=spec.act, device="cpu")
    env = spec.environments[0].build().make()
    executed = [act_in(env, planner, seed=7) for _ in range(2)]
    assert executed[0] == [json.loads(line) for line in lines]
    assert executed[1] == executed[0]
    assert planner.missing == 0


def test_unobserved_steps_are_counted(planner: Planner) -> None:
    frame = np.zeros((1, 8, 8, 3), np.uint8), np.zeros(4, np.float32)
    planner.reset()
    planner.observe(*frame)
    actions = planner.act()
    assert actions.dtype == np.float32
    assert actions.shape == (planner.config.n_action_steps, 4)
    planner.observe(*frame)
    planner.act()
    assert planner.missing == planner.config.n_action_steps - 1
    assert planner.plan_count == 2
    planner.reset(seed=1)
    assert (planner.missing, planner.plan_count) == (0, 0)


@pytest.mark.usefixtures("puppet")
def test_observing_once_per_plan_suffices_if_the_policy_looks_no_closer(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    policy = {"n_obs_steps": 3, "history_stride": 2, "n_action_steps": 2}
    chain.run_pipeline(read_spec(spec_file(policy=policy)), puppet_root, "train")
    planner = load_planner(policy_folder(puppet_root), device="cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (9, 1, 8, 8, 3), np.uint8)
    joints = np.arange(36, dtype=np.float32).reshape(9, 4)
    plans = []
    for every in (1, 2):
        planner.reset(seed=3)
        planner.observe(rgb[0], joints[0])
        actions = [planner.act()]
        for newest in (2, 4, 6, 8):
            for step in range(newest - 2 + every, newest + 1, every):
                planner.observe(rgb[step], joints[step])
            actions.append(planner.act())
        assert planner.missing == 0
        plans.append(np.stack(actions))
    # other frames are encoded together: float32 sums in another order, and where a float16 token
    # rounds to the next, 2**-11 of one value in a mean
    np.testing.assert_allclose(plans[0], plans[1], rtol=1e-3, atol=1e-4)
    assert np.abs(np.diff(plans[0], axis=0)).max() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.observe(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(4, np.float32)), "reset"),
        (lambda p: p.act(), "act: no observation since the last plan; call observe first"),
        (lambda p: p.reset(seed=-1), "reset: seed is -1"),
        (
            lambda p: p.reset(task="polka"),
            "unknown task 'polka'; the policy was trained on puppet",
        ),
    ],
)
def test_call_out_of_order_is_an_error(
    planner: Planner, call: Callable[[Planner], Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(planner)


@pytest.mark.parametrize(
    ("rgb", "joints", "message"),
    [
        (
            np.zeros((2, 8, 9, 3), np.uint8),
            np.zeros(4, np.float32),
            r"images are of 2 cameras at 8x9; send uint8 RGB images of 1 camera \(eye\) at 8x8, in"
            r" an array of shape \(1, 8, 8, 3\)",
        ),
        (np.zeros((8, 8, 3), np.uint8), np.zeros(4, np.float32), "a dimension for the cameras"),
        (np.zeros((1, 3, 8, 8), np.uint8), np.zeros(4, np.float32), "colours before height"),
        (np.zeros((1, 8, 8, 4), np.uint8), np.zeros(4, np.float32), "with 4 colour channels"),
        (np.zeros(5, np.uint8), np.zeros(4, np.float32), r"images have shape \(5,\)"),
        (
            np.zeros((1, 8, 8, 3), np.float32),
            np.zeros(4, np.float32),
            "images are float32 instead of",
        ),
        (
            np.zeros((1, 8, 8, 3), np.uint8),
            np.zeros(3, np.float32),
            r"send float32 of shape \(4,\)",
        ),
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros(4), "joints are float64"),
        (np.zeros((1, 8, 8, 3), np.uint8), np.full(4, np.nan, np.float32), "NaN or infinity"),
    ],
)
def test_invalid_observation_is_an_error(
    planner: Planner, rgb: Any, joints: Any, message: str
) -> None:
    planner.reset()
    with pytest.raises(UserError, match=f"observe: .*{message}"):
        planner.observe(rgb, joints)


def test_joints_far_from_the_training_data_are_reported_once_and_counted(planner: Planner) -> None:
    planner.reset()
    rgb, joints = np.zeros((1, 8, 8, 3), np.uint8), np.zeros(4, np.float32)
    planner.observe(rgb, joints)
    assert (planner.far_inputs, planner.warning) == (0, None)
    joints[1] = 90.0
    planner.observe(rgb, joints)
    warning = planner.warning
    assert warning is not None
    assert warning.startswith(f"observe: {planner.config.action_names[1]} is 90 (learned from")
    assert "radians or degrees" in warning
    planner.reset()
    joints[2] = 100.0
    planner.observe(rgb, joints)
    assert (planner.far_inputs, planner.warning) == (2, warning)


def test_policy_that_needs_the_true_state_is_refused(planner: Planner) -> None:
    policy = planner._planner.policy
    policy.config = attrs.evolve(policy.config, condition="oracle", states=("target",))
    with pytest.raises(UserError, match="uses the true state or point cloud"):
        Planner(planner._planner)


@pytest.mark.usefixtures("puppet")
def test_backbone_with_a_local_weights_file_must_be_passed(puppet_root: Path) -> None:
    folder = policy_folder(puppet_root)
    (choice,) = saved_backbones(folder)
    assert choice.component.name == "puppet"
    saved = json.loads((folder / "policy.json").read_text())
    saved["backbones"][0]["weights"] = {"sha256": "0" * 64}
    del saved["record_digest"]
    (folder / "policy.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"read weights from a local file .*; pass the spec's"):
        saved_backbones(folder)


def observe_once(planner: Planner | Session, config: Any, seed: int, joint: float = 0.0) -> None:
    planner.reset(seed=seed)
    rgb = np.zeros((1, len(config.cameras), *config.image, 3), np.uint8)
    joints = np.full((1, len(config.action_names)), joint, np.float32)
    if isinstance(planner, Session):
        planner.observe(rgb, joints)
    else:
        planner.observe_many(rgb, joints)


def plans_with_nan(batch_planner: BatchPlanner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the plans of slot 1 contain NaN, as overflowing activations do."""
    real = batch_planner.policy.plans

    def plans(*args: Any) -> Any:
        found = real(*args)
        found.actions[1 % batch_planner.batch] = float("nan")
        return found

    monkeypatch.setattr(batch_planner.policy, "plans", plans)


def test_plan_that_is_not_finite_is_an_error_that_names_policy_and_step(
    planner: Planner, puppet_done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe_once(planner, planner.config, 0)
    steps = len(planner.act())
    observe = np.zeros((1, len(planner.config.cameras), *planner.config.image, 3), np.uint8)
    joints = np.zeros((1, len(planner.config.action_names)), np.float32)
    joints[0, 2] = 1e30
    planner.observe_many(observe, joints)
    plans_with_nan(planner._planner, monkeypatch)
    with pytest.raises(UserError) as caught:
        planner.act()
    first = planner.config.action_names[planner.config.action_index[0]]
    message = f"the plan for step {steps} of the episode, the action of {first} is nan; "
    assert f"{policy_folder(puppet_done)}: in {message}" in str(caught.value)
    assert f"({planner.config.action_names[2]} is 1e+30)" in str(caught.value)
    with pytest.raises(UserError, match="no observation since the last plan"):
        planner.act()


def test_plan_that_is_not_finite_does_not_affect_other_sessions(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = BatchPlanner(planner._planner.policy, planner._planner.encoders, 2, "cpu")
    plans_with_nan(two, monkeypatch)
    sessions = Sessions(two, Act(), window=5.0)
    try:
        good, bad = sessions.begin(), sessions.begin()
        for seed, session in enumerate((good, bad)):
            observe_once(session, planner.config, seed)
        with ThreadPoolExecutor(2) as pool:
            plan, failure = pool.submit(good.act), pool.submit(bad.act)
            assert np.isfinite(plan.result()).all()
            with pytest.raises(UserError, match=r"the action of .* is nan; "):
                failure.result()
        good.close()
        bad.close()
    finally:
        sessions.close()
