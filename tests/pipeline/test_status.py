"""What ``check`` says before anything runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rgb2act_core.data.episode_store import read_episode
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain, timings
from rgb2act_core.pipeline.forecast import Forecast
from rgb2act_core.pipeline.status import CheckResult, check
from rgb2act_core.spec.reader import read_spec

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
ALONE = {"use": "moe", "k": 2}


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"align": {"fusion": ALONE}}, "moe: k is 2, but the run has 1 backbone"),
        (
            {"align": {"augment": {"backbone_dropout": 0.1}}},
            "align.augment.backbone_dropout: 0.1 is of no effect with one backbone",
        ),
        (
            {"align": {"loss": {"self_contrast": 0.1}}},
            "align.loss.self_contrast: 0.1 is of no effect with one backbone",
        ),
        (
            {"policy": {"proprio": False}, "act": {"baselines": ["proprio_only"]}},
            "act.baselines: 'proprio_only' sees nothing at all",
        ),
        ({"compute": {"device": "cuda:99"}}, "compute.device: 'cuda:99' does not exist"),
        ({"act": {"first_seed": 100_001}}, "act.first_seed: 100001 meets the seeds of the demon"),
        ({"act": {"first_seed": 500_001}}, "act.first_seed: 500001 meets the seeds of the scenes"),
        (
            {"policy": {"n_action_steps": 4}, "act": {"candidates": 2}},
            "act.candidates: 2, but all 4 steps of a plan are executed",
        ),
        (
            {"policy": {"n_action_steps": 4}, "act": {"temporal_ensemble": True}},
            "act.temporal_ensemble: True, but all 4 steps of a plan are executed",
        ),
        (
            {"policy": {"head": {"use": "replay"}, "closed_loop": {"every": 2}}},
            "policy.closed_loop: tries what is trained, and head = 'replay' trains nothing",
        ),
        (
            {
                "policy": {"head": {"use": "replay"}},
                "environment": [{"use": "puppet"}, {"use": "puppet", "slack": 0.25}],
            },
            "environment: head = 'replay' plays episodes of one task, the spec has 2; name one",
        ),
    ],
    ids=[
        "more experts than backbones",
        "a backbone left out where there is one",
        "a backbone against others where there is one",
        "blind baseline without joints",
        "no such device",
        "seen demonstrations",
        "seen scenes",
        "candidates with nothing to go on from",
        "nothing to blend",
        "trials of nothing trained",
        "replay of several tasks",
    ],
)
def test_what_cannot_be_is_an_error_before_any_work(
    spec_file: SpecFile, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    spec = read_spec(spec_file(**changes))
    root = tmp_path / "root"
    for begin in (check, chain.run_pipeline):
        with pytest.raises(UserError, match=words):
            begin(spec, root)
    assert not root.exists()


@pytest.mark.usefixtures("puppet")
def test_int8_on_another_device_is_refused_before_any_work(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rgb2act_core.pipeline.preflight.device_of", lambda compute: "cuda")
    spec = read_spec(spec_file(policy={"head": {"use": "flow", "precision": "int8"}}))
    with pytest.raises(UserError, match="precision 'int8' plans on a CPU, not on 'cuda'"):
        check(spec, tmp_path)


# weights are proved before anything takes long


@pytest.mark.parametrize("content", [b"", b"no weights", b"other"], ids=["empty", "torn", "wrong"])
def test_bad_weights_are_told_before_anything_is_recorded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, content: bytes
) -> None:
    weights = tmp_path / "bad.safetensors"
    weights.write_bytes(content)
    if content == b"other":
        save_file({"other": torch.ones(1)}, weights)
    spec = spec_file(backbone=[{"use": "puppet", "weights": "bad.safetensors"}])
    for command in ("run", "align", "check"):
        done = cli(command, spec, "--root", tmp_path / "root")
        assert done.returncode == 2
        assert f"{weights}: " in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_weights_that_cannot_be_fetched_are_told_before_anything_is_recorded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "hub"}])
    env = {"HF_HUB_OFFLINE": "1", "RGB2ACT_CACHE": str(tmp_path / "cache")}
    done = cli("run", spec, "--root", tmp_path / "root", **env)
    assert done.returncode == 2
    assert "Puppet S is not on this machine" in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("puppet")
def test_a_cached_run_builds_nothing(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing is to be done")

    monkeypatch.setattr(chain, "check_weights_load", never)
    chain.run_pipeline(read_spec(spec_file()), puppet_root)


# predictions


def forecasts(result: CheckResult) -> dict[str, Forecast]:
    return {stage.stage: stage for stage in result.stages}


@pytest.mark.usefixtures("puppet")
def test_what_was_never_done_has_sizes_from_shapes_and_no_times(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    result = check(read_spec(spec_file()), tmp_path / "root")
    found, frames = forecasts(result), 4 * 11 + 3  # episodes of at most 11 steps, and scenes
    assert result.frames == frames
    assert found["collect"].bytes == frames * 8 * 8 * 3
    assert found["extract/puppet"].bytes == frames * 6 * (2 * 4 + 4)
    assert found["teacher/puppet"].bytes == frames * 6 * 4
    assert [stage.seconds for stage in result.stages] == [None] * 6
    assert result.unknown_bytes == ("align", "train", "act")
    assert "every episode as long as it may be" in found["collect"].basis


@pytest.mark.usefixtures("puppet")
def test_times_come_from_what_the_same_work_took_before(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    changes = {"seed": 7, "align": {"steps": 24}, "act": {"episodes": 8}}
    record = json.loads((puppet_root / "puppet/run.json").read_text())
    took = {stage["stage"]: stage["seconds"] for stage in record["stages"]}
    past = {}
    for path in (puppet_root / "store/speeds").glob("*.json"):
        past[path.name.partition("-")[0]] = json.loads(path.read_text())
    found = forecasts(check(read_spec(spec_file(**changes)), puppet_root))
    assert found["collect"] == Forecast(stage="collect", state="cached")
    assert found["align"].seconds == pytest.approx(2 * past["align"]["seconds"])
    assert found["align"].bytes == past["align"]["bytes"] > 0
    assert past["align"]["seconds"] == pytest.approx(took["align"], abs=0.01)
    assert found["act"].seconds == pytest.approx(2 * past["act"]["seconds"])
    assert found["act"].memory == past["act"]["memory"] > 1e7


@pytest.mark.usefixtures("puppet")
def test_more_episodes_are_predicted_from_those_recorded(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    folders = (puppet_root / "store/episodes").glob("*/episode_*")
    lengths = [read_episode(path).rgb.shape[0] for path in folders if path.is_dir()]
    result = check(read_spec(spec_file(collect={"episodes": 8})), puppet_root)
    collect = forecasts(result)["collect"]
    assert len(lengths) == 4
    assert result.frames == 2 * sum(lengths) + 3
    assert collect.basis.startswith(f"{sum(lengths)} frames: 4 recorded demonstrations")
    assert collect.bytes is not None
    assert collect.bytes > sum(lengths) * 8 * 8 * 3  # clouds besides
    assert collect.seconds is not None


@pytest.mark.usefixtures("puppet")
def test_a_speed_of_another_machine_is_not_believed(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "processor", lambda: "abacus")
    found = forecasts(check(read_spec(spec_file(seed=7)), puppet_root))
    assert found["align"].seconds is None
    assert "never ran on this machine" in found["align"].basis


@pytest.mark.usefixtures("puppet")
def test_a_damaged_speed_is_not_known(spec_file: SpecFile, puppet_root: Path) -> None:
    for path in (puppet_root / "store/speeds").glob("*.json"):
        path.write_text('{"units": "many"}')
    found = forecasts(check(read_spec(spec_file(seed=7)), puppet_root))
    assert found["align"].seconds is None


@pytest.mark.usefixtures("puppet")
def test_weights_that_are_away_are_not_fetched_by_check(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    spec = read_spec(spec_file(backbone=[{"use": "puppet", "weights": "hub"}]))
    found = forecasts(check(spec, tmp_path / "root", timed=True))["extract/puppet"]
    assert found.bytes is None
    assert found.seconds is None
    assert "weights puppet.safetensors are to fetch" in found.basis


def test_frames_are_timed_when_asked_for(cli: Cli, spec_file: SpecFile, tmp_path: Path) -> None:
    done = cli("check", spec_file(), "--root", tmp_path / "root", "--time", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    found = {stage["stage"]: stage for stage in result["stages"]}
    for stage in ("extract/puppet", "teacher/puppet"):
        assert 0 < found[stage]["seconds"] < 60
        assert found[stage]["memory"] > 1e7
        assert "measured now" in found[stage]["basis"]
    assert result["unknown_seconds"] == ["collect", "align", "train", "act"]
    shown = cli("check", spec_file(), "--root", tmp_path / "root").stdout
    assert "align           waits for collect" in shown
    assert "what align, train, act take, which is not known" in shown
