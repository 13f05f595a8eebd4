"""The smoke run through the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


@pytest.mark.slow
def test_smoke_run_runs_every_stage(files: Files, smoke_done: Path) -> None:
    assert list(files(smoke_done, "smoke").reasons()) == [
        "collect",
        "extract/patchstats",
        "extract/randconv",
        "teacher/cloudstats",
        "align",
        "train",
        "act",
    ]
    printed = json.loads((smoke_done / "stdout").read_text())
    assert printed["run"] == str(smoke_done / "smoke" / "1")
    assert printed["results"]["act"] == files(smoke_done, "smoke").results()
    assert len(printed["results"]["act"]["episodes"]) == 4
    assert (smoke_done / "smoke" / "1" / "report.html").stat().st_size > 10_000
    (video,) = files(smoke_done, "smoke").folder("act").glob("videos/*.mp4")
    assert video.name == "seed_0000000.mp4"
    scratch = ("inputs.json", "checkpoint.safetensors", "episodes.json")
    assert not [p for p in smoke_done.rglob("*") if p.name in scratch or ".partial" in p.name]


@pytest.mark.slow
def test_second_run_is_cached(files: Files, cli: Cli, smoke_root: Path) -> None:
    spec = smoke_root / "smoke.toml"
    done = cli("run", spec, "--root", smoke_root, "--json")
    assert done.returncode == 0, done.stderr
    assert files(smoke_root, "smoke").reasons() == {}
    assert done.stderr.count(": cached\n") == 7
    record = json.loads((smoke_root / "smoke" / "1" / "run.json").read_text())
    times = [stage["cpu_seconds"] for stage in record["stages"]]
    assert min(times) > 0  # the times of when each stage ran
    assert json.loads(done.stdout)["results"]["act"] == files(smoke_root, "smoke").results()
    checked = cli("check", spec, "--root", smoke_root, "--json")
    assert {stage["state"] for stage in json.loads(checked.stdout)["stages"]} == {"cached"}
    assert json.loads(checked.stdout)["bytes_needed"] == 0


@pytest.mark.slow
def test_results_are_bit_identical_across_stores(
    files: Files, cli: Cli, spec_file: SpecFile, smoke_done: Path, tmp_path: Path
) -> None:
    runtime = {"simulator_workers": 1, "checkpoint_seconds": 0.0}
    spec = spec_file("smoke", compute=runtime, extract={"batch_size": 7, "compression": "zstd"})
    done = cli("run", spec, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path, "smoke").weights() == files(smoke_done, "smoke").weights()
    assert files(tmp_path, "smoke").results() == files(smoke_done, "smoke").results()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {
            "backbone": [{"use": "patchstats", "patch": 8}, {"use": "randconv", "dim": 8}],
            "align": {"fusion": {"use": "moe"}, "pool": "mean", "steps": 5},
            "policy": {
                "head": {
                    "use": "diffusion",
                    "denoiser": "unet",
                    "unet": {"down_dims": [16, 32], "groups": 4},
                },
                "arms": "left",
                "steps": 5,
            },
        },
        {
            "backbone": [{"use": "patchstats"}],
            "teacher": {"use": "pointnet", "dim": 16},
            "align": {"pool": "attention", "steps": 5},
            "policy": {
                "head": {
                    "use": "diffusion",
                    "denoiser": "transformer",
                    "transformer": {"width": 16, "layers": 1, "heads": 2},
                    "sampler": "dpm++",
                },
                "arms": "right",
                "gripper": False,
                "gripper_when_absent": "hold",
                "steps": 5,
            },
        },
    ],
    ids=["moe-unet", "pointnet-transformer"],
)
def test_other_components_run(
    files: Files, spec_file: SpecFile, smoke_root: Path, changes: dict[str, Any]
) -> None:
    act = {"episodes": 1, "videos": 0}
    spec = read_spec(spec_file("smoke", act=act, compute={"simulator_workers": 1}, **changes))
    chain.run_pipeline(spec, smoke_root)
    assert len(files(smoke_root, "smoke").results()["episodes"]) == 1
    shares = files(smoke_root, "smoke").results("align")["fusion"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)  # float32 means of shares
