"""``check``: incompatible specs, cached stages, and forecasts, before anything runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import save_file

from rgb2act_core.cli import main
from rgb2act_core.data.episode_store import read_episode
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain, timings
from rgb2act_core.pipeline.forecast import Forecast
from rgb2act_core.pipeline.preflight import check_compatibility
from rgb2act_core.pipeline.status import CheckResult, check
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.run import Run
from rgb2act_core.stages.tasks import open_tasks
from rgb2act_core.store.stage_id import Stage, StageId, StageState, StageStatus

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
            "align.augment.backbone_dropout: 0.1 has no effect with one backbone",
        ),
        (
            {"align": {"loss": {"self_contrast": 0.1}}},
            "align.loss.self_contrast: 0.1 has no effect with one backbone",
        ),
        (
            {"policy": {"proprio": False}, "act": {"baselines": ["proprio_only"]}},
            "act.baselines: 'proprio_only' has no input",
        ),
        ({"compute": {"device": "cuda:99"}}, "compute.device: 'cuda:99' does not exist"),
        (
            {"act": {"first_seed": 100_001}},
            "act.first_seed: seed 100001 is also one of the seeds of the",
        ),
        (
            {"act": {"first_seed": 500_001}},
            "act.first_seed: seed 500001 is also one of the seeds of the",
        ),
        (
            {"policy": {"n_action_steps": 4}, "act": {"candidates": 2}},
            "act.candidates: 2 needs overlapping plans, but n_action_steps equals horizon",
        ),
        (
            {"policy": {"n_action_steps": 4}, "act": {"temporal_ensemble": True}},
            "act.temporal_ensemble: True needs overlapping plans",
        ),
        (
            {
                "act": {"replay": True},
                "environment": [{"use": "puppet"}, {"use": "puppet", "slack": 0.25}],
            },
            "environment: act.replay replays the episodes of one task, but the spec has 2",
        ),
    ],
    ids=[
        "more experts than backbones",
        "backbone dropout with one backbone",
        "self-contrast with one backbone",
        "proprio_only without proprioception",
        "no such device",
        "seeds of demonstrations",
        "seeds of scenes",
        "candidates without overlap",
        "ensemble without overlap",
        "replay of several tasks",
    ],
)
def test_incompatible_spec_is_an_error_before_any_work(
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
    monkeypatch.setattr("rgb2act_core.pipeline.preflight.device_of", lambda device: "cuda")
    spec = read_spec(spec_file(policy={"head": {"use": "flow", "precision": "int8"}}))
    with pytest.raises(UserError, match="precision 'int8' needs a CPU, got 'cuda'"):
        check(spec, tmp_path)


@pytest.mark.usefixtures("puppet")
def test_an_arm_without_actions_is_one_problem(spec_file: SpecFile, tmp_path: Path) -> None:
    run = Run(spec=read_spec(spec_file(policy={"arms": "left"})), root=tmp_path)
    info = attrs.evolve(open_tasks(run).info, action_names=("joint",))
    with pytest.raises(UserError) as caught:
        check_compatibility(run.spec, info)
    (problem,) = caught.value.args
    assert problem.startswith("policy.arms: 'left' controls none of the actions")


# --- weights load before anything runs ---


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"other"], ids=["empty", "truncated", "wrong"]
)
def test_bad_weights_fail_before_anything_is_recorded(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    weights = tmp_path / "bad.safetensors"
    weights.write_bytes(content)
    if content == b"other":
        save_file({"other": torch.ones(1)}, weights)
    spec = spec_file(backbone=[{"use": "puppet", "weights": "bad.safetensors"}])
    for command in ("run", "align", "check"):
        assert main([command, str(spec), "--root", str(tmp_path / "root")]) == 2
        assert f"{weights}: " in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_unavailable_weights_fail_before_anything_is_recorded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "hub"}])
    env = {"HF_HUB_OFFLINE": "1", "RGB2ACT_CACHE": str(tmp_path / "cache")}
    done = cli("run", spec, "--root", tmp_path / "root", **env)
    assert done.returncode == 2
    assert "Puppet S is not on this machine" in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("puppet")
def test_cached_run_builds_no_component(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("everything is cached")

    monkeypatch.setattr(chain, "check_buildable", never)
    chain.run_pipeline(read_spec(spec_file()), puppet_root)


# --- forecasts ---


def forecasts(result: CheckResult) -> dict[str, Forecast]:
    return {str(stage.status.id): stage for stage in result.stages}


@pytest.mark.usefixtures("puppet")
def test_first_run_has_sizes_from_shapes_and_unknown_times(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    result = check(read_spec(spec_file()), tmp_path / "root")
    found, frames = forecasts(result), 4 * 11 + 3  # episodes of at most 11 steps, and scenes
    assert result.frames == frames
    assert found["collect"].bytes == frames * 8 * 8 * 3
    assert found["extract/puppet"].bytes == frames * 6 * (2 * 4 + 4)
    assert found["teacher/puppet"].bytes == frames * 6 * 4
    assert [stage.seconds for stage in result.stages] == [None] * 6
    assert [str(stage) for stage in result.unknown_bytes] == ["align", "train", "act"]
    assert "episodes of maximal length" in found["collect"].basis


@pytest.mark.usefixtures("puppet")
def test_times_come_from_earlier_runs_of_the_same_work(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    changes = {"seed": 7, "align": {"steps": 24}, "act": {"episodes": 8}}
    record = json.loads((puppet_root / "puppet/1/run.json").read_text())
    took = {stage["stage"]: stage["seconds"] for stage in record["stages"]}
    past = {}
    for path in (puppet_root / "store/timings").glob("*.json"):
        past[path.name.partition("-")[0]] = json.loads(path.read_text())
    found = forecasts(check(read_spec(spec_file(**changes)), puppet_root))
    cached = StageStatus(StageId(Stage.COLLECT), StageState.CACHED)
    assert found["collect"] == Forecast(status=cached)
    assert found["align"].seconds == pytest.approx(2 * past["align"]["seconds"])
    assert found["align"].bytes == past["align"]["bytes"] > 0
    assert past["align"]["seconds"] == pytest.approx(took["align"], abs=0.01)
    assert found["act"].seconds == pytest.approx(2 * past["act"]["seconds"])
    assert found["act"].memory == past["act"]["memory"] > 1e7


@pytest.mark.usefixtures("puppet")
def test_more_episodes_are_forecast_from_recorded_ones(
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
    assert collect.bytes > sum(lengths) * 8 * 8 * 3  # point clouds come on top
    assert collect.seconds is not None


@pytest.mark.usefixtures("puppet")
def test_timing_of_another_machine_is_not_used(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "processor", lambda: "abacus")
    found = forecasts(check(read_spec(spec_file(seed=7)), puppet_root))
    assert found["align"].seconds is None
    assert found["align"].basis.endswith("; time unknown")


@pytest.mark.usefixtures("puppet")
def test_damaged_timing_makes_the_time_unknown(spec_file: SpecFile, puppet_root: Path) -> None:
    for path in (puppet_root / "store/timings").glob("*.json"):
        path.write_text('{"units": "many"}')
    found = forecasts(check(read_spec(spec_file(seed=7)), puppet_root))
    assert found["align"].seconds is None


@pytest.mark.usefixtures("puppet")
def test_check_downloads_no_weights(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    spec = read_spec(spec_file(backbone=[{"use": "puppet", "weights": "hub"}]))
    found = forecasts(check(spec, tmp_path / "root", timed=True))["extract/puppet"]
    assert found.bytes is None
    assert found.seconds is None
    assert "weights puppet.safetensors are not downloaded" in found.basis


@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_check_measures_by_a_short_run_unless_asked_not_to(
    spec_file: SpecFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a short run is not logged")

    monkeypatch.setattr("rgb2act_core.tracking.logger_link.Channel", never)
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    command = ["check", str(spec_file()), "--root", str(tmp_path / "root")]
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    limit = "at most 1 min 0 s (--no-time skips it)"
    assert printed.err == f"measuring: a short run of all stages, {limit}\n"
    result = json.loads(printed.out)
    found = {stage["stage"]: stage for stage in result["stages"]}
    for stage in ("extract/puppet", "teacher/puppet"):
        assert 0 < found[stage]["seconds"] < 60
        assert found[stage]["memory"] > 1e7
        assert "measured now" in found[stage]["basis"]
    for stage in ("collect", "align", "train", "act"):
        assert found[stage]["seconds"] > 0
        assert "measured now: " in found[stage]["basis"]
    assert result["unknown_seconds"] == []
    assert not (tmp_path / "root").exists()
    assert main(command) == 0  # which needs no second measurement
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "measured before: " in printed.out
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "empty"))
    assert main([*command, "--no-time"]) == 0
    shown = capsys.readouterr().out
    assert "align           waits for collect" in shown
    assert "unknown for align, train, act;" in shown
    assert "\ntime: unknown\n" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_a_short_run_that_takes_long_is_interrupted(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rgb2act_core.pipeline.short_run.LONGEST", 3.0)
    monkeypatch.setattr("rgb2act_core.pipeline.short_run.STEPS", 10**7)
    spec = read_spec(spec_file(policy={"steps": 10**7}))
    found = forecasts(check(spec, tmp_path / "root", timed=True))
    assert found["train"].basis.endswith("time not measured: a short run takes longer than 3.0 s")
    assert "measured now" in found["extract/puppet"].basis


@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_a_short_run_measures_the_recording_of_each_task(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    two = [{"use": "puppet"}, {"use": "puppet", "task": "waltz"}]
    spec, root = read_spec(spec_file(environment=two)), tmp_path / "root"
    found = forecasts(check(spec, root, timed=True))
    for stage in ("collect/puppet", "collect/waltz"):
        assert found[stage].seconds
        assert "measured now: " in found[stage].basis
    chain.run_pipeline(spec, root)
    monkeypatch.setattr("rgb2act_core.pipeline.forecast.short_run", None)
    more = read_spec(spec_file(environment=two, collect={"episodes": 5}))
    assert all(stage.seconds for stage in check(more, root, timed=True).stages)


def test_forecast_is_that_of_this_image_size(
    smoke_root: Path, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file("smoke", environment={"size": 64}))
    found = [
        {str(stage.status.id): stage.bytes for stage in check(spec, root).stages}
        for root in (smoke_root, tmp_path / "fresh")
    ]
    for name in ("extract/patchstats", "extract/randconv"):
        assert found[0][name] == found[1][name]


def test_problems_of_all_kinds_are_reported_at_once_with_their_places(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spec_file("smoke", align={"fusion": {"use": "moe", "k": 5}})
    options = ["--set", "environment.size=30", "--device", "cuda:99", "--root", str(tmp_path)]
    assert main(["check", str(path), *options]) == 2
    lines = path.read_text().splitlines()
    fusion = lines.index("[align.fusion]") + 1
    number = {name: i for i, line in enumerate(lines, 1) for name in line.split('"')[1:2]}
    small = "image is 30x30, not a multiple of"
    assert [line.partition(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"{path}:{number['patchstats']}: backbone[0]: patchstats: {small} patch 4",
        f"{path}:{number['randconv']}: backbone[1]: randconv: {small} stride 4",
        f"{path}:{fusion}: align.fusion: moe: k is 5, but the run has 2 backbones",
        "--device cuda:99: 'cuda:99' does not exist (0 GPUs found)",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_a_short_run_reads_the_first_recorded_episodes(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rgb2act_core.pipeline.short_run.EPISODES", 3)
    spec = read_spec(spec_file(environment={"use": "puppet", "recorded": 5}, collect={"scenes": 0}))
    found = forecasts(check(spec, tmp_path / "root", timed=True))
    for stage in ("align", "train", "act"):
        assert found[stage].seconds
        assert "measured now: " in found[stage].basis


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, "collect extract/patchstats extract/randconv teacher/cloudstats align train act"),
        ({"policy.condition": "oracle"}, "collect train act"),
        ({"policy.condition": "proprio_only"}, "collect train act"),
        ({"policy.condition": "teacher"}, "collect teacher/cloudstats train act"),
        ({"policy.condition": "single_backbone"}, "collect extract/patchstats train act"),
        (
            {"policy.condition": "end_to_end"},
            "collect extract/patchstats extract/randconv train act",
        ),
        ({"act.replay": "true"}, "collect act"),
    ],
)
def test_stages_that_a_run_does_not_do_need_nothing_before_its_data_are_recorded(
    spec_file: SpecFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    needed: str,
) -> None:
    options = [f"--set={key}={value}" for key, value in changes.items()]
    command = ["check", str(spec_file("smoke")), "--no-time", "--root", str(tmp_path / "root")]
    assert main([*command, *options, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert " ".join(s["stage"] for s in stages if s["state"] != "not needed") == needed
    idle = [stage for stage in stages if stage["state"] == "not needed"]
    assert all((s["bytes"], s["seconds"], s["memory"]) == (0, 0, None) for s in idle)


def test_tokens_that_alignment_keeps_in_memory_are_stated(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], smoke_root: Path
) -> None:
    command = ["check", str(spec_file("smoke")), "--no-time", "--root"]
    assert main([*command, str(tmp_path / "root")]) == 0
    assert re.search(r"\nmemory: .* at peak, and up to .* for all tokens", capsys.readouterr().out)
    assert main([*command, str(smoke_root)]) == 0  # where it has run
    assert "for all tokens" not in capsys.readouterr().out
