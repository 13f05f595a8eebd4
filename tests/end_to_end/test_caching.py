"""Which stages a change of the spec runs again, and that caching does not change results."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.stage_id import StageState

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


STAGES = ["collect", "extract/puppet", "teacher/puppet", "align", "train", "act"]


@pytest.mark.usefixtures("puppet")
def test_changed_policy_key_runs_train_and_act(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    chain.run_pipeline(read_spec(spec_file(policy={"lr": 0.002})), puppet_root, "train")
    assert files(puppet_root).reasons() == {"train": "policy.lr: 0.001 -> 0.002"}
    chain.run_pipeline(read_spec(spec_file(policy={"lr": 0.002})), puppet_root)
    reasons = files(
        puppet_root
    ).reasons()  # known although the previous command stopped after train
    assert list(reasons) == ["act"]
    assert reasons["act"].startswith("policy: ")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 1}, ["align", "train", "act"]),
        ({"align": {"loss": {"temperature": 0.2}}}, ["align", "train", "act"]),
        ({"act": {"first_seed": 3}}, ["act"]),
        (
            {"backbone": [{"use": "puppet", "patch": 2}]},
            ["extract/puppet", "align", "train", "act"],
        ),
        ({"teacher": {"use": "puppet", "dim": 5}}, ["teacher/puppet", "align", "train", "act"]),
        ({"collect": {"action_noise_std": 0.5}}, STAGES),
        ({"name": "other"}, []),
        ({"extract": {"batch_size": 1, "compression": "zstd"}}, []),
        ({"compute": {"simulator_workers": 2, "threads": 2, "checkpoint_seconds": 9.0}}, []),
    ],
    ids=str,
)
def test_change_runs_the_stages_that_depend_on_it(
    spec_file: SpecFile, puppet_done: Path, changes: dict[str, Any], expected: list[str]
) -> None:
    from rgb2act_core.pipeline.status import check

    found = check(read_spec(spec_file(**changes)), puppet_done).stages
    states = {str(stage.status.id): str(stage.status) for stage in found}
    assert [stage for stage, state in states.items() if state != "cached"] == expected


@pytest.mark.usefixtures("puppet")
def test_more_episodes_reuse_cached_ones(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in puppet_root.glob("store/features/*/*")}
    chain.run_pipeline(read_spec(spec_file(collect={"episodes": 6})), puppet_root, "extract")
    reasons = files(puppet_root).reasons()
    assert reasons["collect"] == "2 demonstrations and 0 scenes to record"
    assert reasons["extract/puppet"] == "2 of 7 episodes to encode"
    assert {p: p.stat().st_mtime_ns for p in before} == before
    names = [p.name for p in sorted(files(puppet_root).folder("collect").iterdir())]
    assert names == [  # every fifth seed fails
        "episode_0100000",
        "episode_0100001",
        "episode_0100002.failed",
        "episode_0100003",
        "episode_0100004",
        "episode_0100005",
        "episode_0100006",
        "scenes_0500000_3",
    ]
    chain.run_pipeline(read_spec(spec_file(collect={"episodes": 4})), puppet_root, "extract")
    assert not {*STAGES[:3]} & {*files(puppet_root).reasons()}


@pytest.mark.usefixtures("puppet")
def test_two_specs_share_stages(files: Files, spec_file: SpecFile, puppet_root: Path) -> None:
    chain.run_pipeline(read_spec(spec_file(name="second", policy={"seed": None})), puppet_root)
    assert files(puppet_root, "second").reasons() == {}
    spec = spec_file(name="third", backbone=[{"use": "puppet"}, {"use": "puppet", "patch": 8}])
    chain.run_pipeline(read_spec(spec), puppet_root, "align")
    assert list(files(puppet_root, "third").reasons()) == ["extract/puppet-1", "align"]
    shares = files(puppet_root, "third").results("align")["fusion"]
    assert list(shares) == ["puppet-0", "puppet-1"]  # of grids 2 x 2 and 1 x 1


@pytest.mark.usefixtures("puppet")
def test_deleted_output_is_computed_again(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    before = files(puppet_root).weights()
    shutil.rmtree(files(puppet_root).folder("train"))
    chain.run_pipeline(read_spec(spec_file()), puppet_root, "train")
    assert files(puppet_root).reasons()["train"] == "its output was deleted"
    assert files(puppet_root).weights() == before


@pytest.mark.usefixtures("puppet")
@pytest.mark.slow
def test_evaluation_does_not_depend_on_the_number_of_workers(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    found = []
    for workers in (1, 2):
        path = files(puppet_root).folder("act")
        path.rename(path.with_name(f"before-{workers}"))
        chain.run_pipeline(
            read_spec(spec_file(compute={"simulator_workers": workers})), puppet_root
        )
        found.append(files(puppet_root).results())
    assert found[0] == found[1]
    assert found[0]["successes"] == 2  # the odd seeds


@pytest.mark.usefixtures("puppet")
def test_compressed_features_train_the_same_policy(
    files: Files, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    spec = read_spec(spec_file(extract={"compression": "zstd", "batch_size": 3}))
    chain.run_pipeline(spec, tmp_path, "train")
    assert files(tmp_path).weights() == files(puppet_done).weights()


@pytest.mark.usefixtures("puppet")
def test_tokens_larger_than_memory_train_the_same_policy(
    files: Files, spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgb2act_core.features import token_room
    from rgb2act_core.store.tensors import read_tensors

    trained = []
    for free in (1 << 40, 0):
        monkeypatch.setattr(token_room, "free_memory", lambda _, free=free: free)
        spec = spec_file(policy={"condition": "tokens"})
        chain.run_pipeline(read_spec(spec), puppet_root, "train")
        folder = files(puppet_root).folder("train")
        assert not (folder / token_room.SPILLED).exists()
        trained.append(read_tensors(folder / "policy.safetensors")[0])
        shutil.rmtree(folder)
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("policy", "act", "features", "embeddings"),
    [
        ({"condition": "proprio_only"}, {}, 0, 0),
        ({"condition": "oracle"}, {}, 0, 0),
        ({"condition": "single_backbone", "backbone": "puppet-1"}, {}, 1, 0),
        ({"condition": "proprio_only"}, {"baselines": ["end_to_end"]}, 2, 0),
        ({"condition": "end_to_end"}, {"baselines": ["proprio_only"]}, 2, 0),
    ],
    ids=str,
)
def test_only_needed_features_are_extracted(
    spec_file: SpecFile,
    tmp_path: Path,
    policy: dict[str, Any],
    act: dict[str, Any],
    features: int,
    embeddings: int,
) -> None:
    from rgb2act_core.pipeline.status import check
    from rgb2act_core.pipeline.verify import verify

    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    spec = read_spec(spec_file(backbone=backbones, policy=policy, act=act))
    folder = chain.run_pipeline(spec, tmp_path, "train")
    found = [p for p in tmp_path.glob("store/features/*") if p.is_dir()]
    assert len(found) == features
    assert len([p for p in tmp_path.glob("store/embeddings/*") if p.is_dir()]) == embeddings
    planned = [s.status.state for s in check(spec, tmp_path).stages if s.status.id.variant]
    assert planned.count(StageState.NOT_NEEDED) == len(backbones) - features
    assert planned.count(StageState.CACHED) == features + embeddings
    assert verify(folder).problems == ()
