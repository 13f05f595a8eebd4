"""Which actions a policy executes, and evaluating it again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("n_obs_steps", "history_stride", "n_action_steps", "context", "condition"),
    [
        (3, 1, 2, 1, "proprio_only"),
        (1, 1, 4, 1, "proprio_only"),
        (2, 1, 1, 3, "aligned"),
        (2, 1, 3, 2, "aligned"),
        (3, 2, 3, 2, "aligned"),
        (2, 4, 4, 1, "aligned"),
    ],
)
def test_executed_actions_are_the_first_of_the_latest_plan(
    files: Files,
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_obs_steps: int,
    history_stride: int,
    n_action_steps: int,
    context: int,
    condition: str,
) -> None:
    from rgb2act_core.policy.saving import load_policy

    spec = read_spec(
        spec_file(
            policy={
                "n_obs_steps": n_obs_steps,
                "history_stride": history_stride,
                "n_action_steps": n_action_steps,
                "condition": condition,
                "arms": "left",
                "gripper": False,
                "gripper_when_absent": "hold",
            },
            backbone=[{"use": "puppet", "context": context}],
            act={"episodes": 1, "parallel_episodes": 1, "first_seed": 7, "videos": 0},
        )
    )
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(puppet_root))
    chain.run_pipeline(spec, puppet_root)
    lines = (puppet_root / "7.jsonl").read_text().splitlines()
    executed_TA = np.array([json.loads(line) for line in lines], np.float32)

    policy = load_policy(files(puppet_root).folder("train"))
    env = spec.environments[0].build().make()
    (backbone,) = [choice.build() for choice in spec.backbone]
    generator = torch.Generator().manual_seed(7)
    monkeypatch.delenv("RGB2ACT_PUPPET_LOG")
    observations = [env.reset(seed=7)[0]]
    expected: list[np.ndarray] = []
    while len(expected) < 11:
        # from all frames since the reset, without the online path
        span = (n_obs_steps - 1) * history_stride + 1
        padded = [observations[0]] * (context + span) + observations
        frames = np.stack([o["rgb"] for o in padded])
        joints = np.stack([o["joints"] for o in padded])[-span::history_stride]
        features = torch.zeros(1, n_obs_steps, 0)
        if condition == "aligned":
            ages = history_stride * np.arange(n_obs_steps)
            windows = [frames[len(frames) - age - context :][:context] for age in ages]
            tokens = backbone.encode(torch.from_numpy(np.stack(windows[::-1]))).half()
            with torch.no_grad():
                features = policy.features([tokens], torch.zeros(len(tokens), 0))[None]
        obs = policy.observe(features, torch.from_numpy(joints[None, :, :1]))
        plan = policy.plans(obs, [generator]).actions[0, 0].numpy()
        for step in range(n_action_steps):
            if len(expected) == 11:
                break
            action = observations[0][
                "joints"
            ].copy()  # joints the policy does not control keep their position
            action[0] = plan[step, 0]
            expected.append(action)
            observations.append(env.step(action)[0])
    np.testing.assert_array_equal(executed_TA[:, 1:], np.stack(expected)[:, 1:])
    # features are float16 tokens of another batch size: float32 sums in another order, and where
    # a token rounds to the next float16, 2**-11 of one value in a mean
    np.testing.assert_allclose(executed_TA[:, 0], np.stack(expected)[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("puppet")
def test_gripper_without_a_command_is_an_error_before_any_work(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file(policy={"gripper": False}))
    with pytest.raises(UserError, match="gripper_when_absent"):
        chain.run_pipeline(spec, tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.fixture(scope="module")
def memory_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root whose demonstration the first test records."""
    return tmp_path_factory.mktemp("memory")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("n_action_steps", [1, 2, 3])
@pytest.mark.parametrize("n_obs_steps", [1, 2])
def test_memorised_demonstration_is_reproduced_step_by_step(
    spec_file: SpecFile,
    tmp_path: Path,
    memory_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_action_steps: int,
    n_obs_steps: int,
) -> None:
    """A head that memorises observation-action pairs repeats the joint path."""
    from rgb2act_puppet import MAX_STEPS, path_of

    spec = spec_file(
        environment={"use": "puppet", "path": True, "lengths": [MAX_STEPS]},
        collect={"episodes": 1, "scenes": 0},
        policy={
            "head": {"use": "memory"},
            "condition": "proprio_only",
            "n_obs_steps": n_obs_steps,
            "n_action_steps": n_action_steps,
            "steps": 40,
            "holdout": 0.0,
        },
        act={"episodes": 1, "parallel_episodes": 1, "videos": 0, "first_seed": 0},
    )
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(tmp_path))
    chain.run_pipeline(read_spec(spec), memory_root)
    lines = (tmp_path / "0.jsonl").read_text().splitlines()
    executed_TA = np.array([json.loads(line) for line in lines], np.float32)
    expected_TA = path_of(100_000, MAX_STEPS)[1:]
    assert np.abs(executed_TA - expected_TA).max() < 1e-5
    for shift in (-1, 1):  # so that an off-by-one error would fail
        assert np.abs(np.roll(expected_TA, shift, 0) - expected_TA).max() > 0.1


@pytest.mark.usefixtures("puppet")
def test_options_of_acting_change_the_actions_reproducibly(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    paths = []
    for act in ({}, {"candidates": 4}, {"temporal_ensemble": True}, {"temporal_ensemble": True}):
        shutil.rmtree(puppet_root / "store/act")
        chain.run_pipeline(read_spec(spec_file(act=act)), puppet_root)
        found = files(puppet_root).results()
        assert set(found["smoothness"]) == {"seam", "largest_step", "jumps", "rewinds"}
        paths.append([episode["largest_step"] for episode in found["episodes"]])
    assert paths[0] != paths[1]
    assert paths[0] != paths[2]
    assert paths[2] == paths[3]


@pytest.mark.usefixtures("puppet")
def test_more_candidates_reduce_the_seam_between_plans(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    seams = []
    for candidates in (1, 16):
        chain.run_pipeline(read_spec(spec_file(act={"candidates": candidates})), puppet_root)
        seams.append(files(puppet_root).results()["smoothness"]["seam"])
    assert seams[1] < seams[0]


def test_finished_run_is_evaluated_on_other_seeds(cli: Cli, puppet_root: Path) -> None:
    before = (puppet_root / "puppet/1/run.json").read_bytes()
    again = [
        cli("act", "puppet", "--root", puppet_root, "--seeds", "10:13", "--workers", n, "--json")
        for n in ("1", "2")
    ]
    assert [done.returncode for done in again] == [0, 0], again[0].stderr
    found = [json.loads(done.stdout)["results"]["act"] for done in again]
    assert [episode["seed"] for episode in found[0]["episodes"]] == [10, 11, 12]
    assert found[0] == found[1]
    assert (puppet_root / "puppet/1/run.json").read_bytes() == before
    done = cli("act", "puppet", "--root", puppet_root, "--seeds", "10:13")  # cached
    stage, video, page = done.stdout.splitlines()
    assert json.loads(Path(stage).read_text())["results"] == found[0]
    assert Path(video).is_file()
    further = Path(page).read_text().partition("<h2>Further evaluations</h2>")[2]
    assert "Seeds 10 to 12: " in further.partition("</section>")[0]
    assert "<video" in further.partition("</section>")[0]

    # episodes of the run and of the further evaluation are filmed later
    done = cli("film", "puppet", "--root", puppet_root, "--seeds", "3,12", "--json")
    assert done.returncode == 0, done.stderr
    videos = [Path(video) for video in json.loads(done.stdout)["videos"]]
    assert [video.name for video in videos] == ["seed_0000003.mp4", "seed_0000012.mp4"]
    assert all(video.is_file() for video in videos)
    assert len({video.parent for video in videos}) == 2
    done = cli("film", "puppet", "--root", puppet_root, "--seeds", "77")
    assert done.returncode == 2
    assert "has no episode of seed 77; evaluated seeds are 0, 1, 2, 3, 10, 11" in done.stderr
    assert "--seeds 77:78" in done.stderr
    assert "95 % interval" in again[0].stderr
    done = cli("act", "puppet", "--root", puppet_root, "--seeds", "10:13", "--episodes", "4")
    assert done.returncode == 2
    assert "--seeds has only 3 seeds" in done.stderr
    done = cli("act", "puppet", "--root", puppet_root, "--seeds", "100000:100003")
    assert done.returncode == 2
    assert "evaluate on seeds that were not trained on" in done.stderr


def test_a_finished_policy_is_evaluated_in_another_environment(cli: Cli, puppet_root: Path) -> None:
    record = (puppet_root / "puppet/1/run.json").read_bytes()
    evaluate = ("act", "puppet", "--root", puppet_root, "--seeds", "0:2")
    done = cli(*evaluate, "--set", "environment.skill=true")
    assert done.returncode == 0, done.stderr
    stage, *_, page = done.stdout.splitlines()
    assert json.loads(Path(stage).read_text())["inputs"]["environment"]["skill"] is True
    assert (puppet_root / "puppet/1/run.json").read_bytes() == record
    shown = Path(page).read_text().partition("<h2>Further evaluations</h2>")[2]
    assert "Seeds 0 to 1, environment.skill: false -&gt; true: " in shown

    # its episodes are not repeated in the environment of the run
    own = cli("film", "puppet", "--root", puppet_root, "--seeds", "1", "--json")
    (video,) = json.loads(own.stdout)["videos"]
    assert Path(video).parent.parent != Path(stage).parent

    done = cli(*evaluate, "--set", 'environment.cameras=["nose"]')
    assert done.returncode == 2
    assert "cameras of the environment of training are ('eye',), of the one given" in done.stderr
    done = cli(*evaluate, "--set", "policy.steps=3")
    assert "set only keys of act, compute and environment" in done.stderr


def test_command_line_overrides_the_seeds_of_a_spec(
    cli: Cli, spec_file: SpecFile, puppet_root: Path
) -> None:
    done = cli("act", spec_file(), "--root", puppet_root, "--seeds", "20:22", "--json")
    assert done.returncode == 0, done.stderr
    episodes = json.loads(done.stdout)["results"]["act"]["episodes"]
    assert [episode["seed"] for episode in episodes] == [20, 21]
