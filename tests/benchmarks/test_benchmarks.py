"""The benchmarks run against the current API."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def output(name: str, *options: str) -> str:
    """Run a benchmark for one round and return its standard output."""
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--rounds", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.parametrize(
    "command",
    [
        ["bench_align_seed", "--quick"],
        ["bench_claims", "--episodes", "20"],
        ["bench_devices", "--batch", "16", "--steps", "2"],
        ["bench_extract", "--quick", "--rounds", "1"],
        ["bench_extract_memory", "--quick", "--rounds", "1"],
        ["bench_features"],
        ["bench_noise"],
        ["bench_student", "--variant", "vits16", "--size", "64"],
    ],
    ids=" ".join,
)
def test_benchmark_prints_ratios(command: list[str]) -> None:
    assert "1.00 x" in output(*command)


@pytest.mark.slow
@pytest.mark.benchmark
def test_engines_are_measured() -> None:
    options = ("--quick", "--engines", "local", "--units", "20")
    printed = output("bench_engines", *options)
    assert "local: a unit" in printed
    assert "times, with a free core for each worker" in printed


def test_data_checks_are_measured_by_rule() -> None:
    printed = output("bench_linting", "--rounds", "1", "--episodes", "4")
    assert "4 episodes of 400 frames" in printed
    assert "outlier" in printed


@pytest.mark.slow
@pytest.mark.benchmark
def test_heads_agree_with_the_plain_implementation() -> None:
    printed = output("bench_head", "--quick")
    for horizon in (8, 16):
        for job in ("DDPM 100 plan", "DDIM 16 plan", "DDIM 10 plan", "training"):
            assert f"UNet S={horizon} {job}" in printed


@pytest.mark.slow
@pytest.mark.benchmark
def test_gradcache_takes_less_memory_than_a_plain_batch() -> None:
    printed = output("bench_gradcache", "--sizes", "128", "--micro", "16")
    size, plain, cached, *_ = printed.splitlines()[-1].split()
    assert size == "128"
    assert float(cached) < 0.6 * float(plain)


@pytest.mark.slow
@pytest.mark.benchmark
def test_the_policy_server_is_measured_next_to_bad_clients(smoke_done: Path) -> None:
    command = [sys.executable, BENCHMARKS / "bench_serving.py", "--root", smoke_done]
    command += ["--seconds", "1", "--requests", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "ratio of p99" in done.stdout
    sent = re.search(r"memory: (\d+) MB, with 8 idle clients .* 60 MB (\d+) MB", done.stdout)
    assert sent is not None, done.stdout
    assert int(sent[2]) - int(sent[1]) < 240  # half of what they sent: it is not kept


def test_reading_lerobot_data_sets_is_measured_in_and_out_of_order() -> None:
    small = ["--episodes", "1", "--steps", "6", "--size", "32", "48"]
    printed = output("bench_lerobot_reading", *small)
    assert "sequential, 6 frames of 2 cameras" in printed
    assert "random, 100 frames of 2 cameras" in printed
    assert printed.count("1.00 x") == 2


@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.usefixtures("puppet")
def test_a_curve_is_measured_and_resumes(spec_file: Callable[..., Path], tmp_path: Path) -> None:
    spec = spec_file()
    other = tmp_path / "other.toml"
    other.write_text(spec.read_text().replace('name = "puppet"', 'name = "other"'))
    curve = tmp_path / "curve.toml"
    curve.write_text(f"""
title = "puppet"
spec = "{spec.name}"
out = "found"
[[rows]]
condition = "aligned"
counts = [5, 4]
seeds = [0]
steps_per_demonstration = 2
[[rows]]
condition = "proprio_only"
counts = [4]
seeds = [0, 1]
steps = 3
[[rows]]
condition = "aligned"
name = "aligned, other aligner"
aligner = "{other.name}"
counts = [4]
seeds = [1]
steps = 3
""")
    command = [sys.executable, BENCHMARKS / "demonstration_curve.py", curve, "--root", tmp_path]
    first = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert first.returncode == 0, first.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(one["condition"], one["at"], one["seed"]) for one in found] == [
        ("aligned", 5, 0),
        ("aligned", 4, 0),
        ("proprio_only", 4, 0),
        ("proprio_only", 4, 1),
        ("aligned, other aligner", 4, 1),
    ]
    with_another = json.loads((tmp_path / "puppet" / "5" / "run.json").read_text())
    assert with_another["spec"]["extract"]["aligner"] == "other@1"
    assert "aligned" in (tmp_path / "found.svg").read_text()
    (tmp_path / "found.json").unlink()
    again = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert again.stdout == first.stdout


@pytest.mark.slow
@pytest.mark.benchmark
def test_robustness_is_measured_with_and_without_a_change(smoke_done: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(smoke_done, tmp_path / "root"))
    command = [sys.executable, BENCHMARKS / "robustness.py", "smoke", "--root", root]
    command += ["--episodes", "2", "--changes", "", "light_jitter=0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    _, _, plain, changed = done.stdout.splitlines()
    assert plain.startswith("| none | 0.")
    assert changed.startswith("| `light_jitter = 0.3` | 0.")
    evaluated = sorted((root / "store" / "act").iterdir())
    command[-3:] = ["--changes", "", "--always", "light_jitter=0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.stdout.splitlines()[-1] == changed.replace("`light_jitter = 0.3`", "none")
    assert sorted((root / "store" / "act").iterdir()) == evaluated
