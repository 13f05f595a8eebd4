"""Training by two processes: results, kills, and errors of one of them.

``RGB2ACT_KILLS=10`` kills more often.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import rgb2act_process
from safetensors.torch import load_file

KILLS = int(os.environ.get("RGB2ACT_KILLS", "1"))
STEPS = 20
OPTIONS: dict[str, Any] = {
    "align": {"steps": STEPS, "ema": 0.9, "augment": {"token_dropout": 0.2}},
    "distill": {
        "student": {"use": "cnn", "width": 8, "blocks": 0, "keypoints": 2, "hidden": 8},
        "steps": STEPS,
        "batch_size": 8,
        "loss": {"cosine": 0.1},
    },
    "policy": {"steps": STEPS, "head": {"use": "diffusion", "mlp": {"width": 16, "blocks": 1}}},
}
SpecIn = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(
    cli: Callable[..., Any],
    spec_in: SpecIn,
    puppet_done: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the root of a training by one process."""
    root = shutil.copytree(puppet_done, tmp_path_factory.mktemp("alone") / "root")
    found = cli("train", spec_in(root, **OPTIONS), "--root", root)
    assert found.returncode == 0, found.stderr
    return root


@pytest.fixture(scope="module")
def pair(
    spec_in: SpecIn,
    puppet_done: Path,
    puppet_site: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the root of a training by two processes of torchrun."""
    root = shutil.copytree(puppet_done, tmp_path_factory.mktemp("pair") / "root")
    spec = spec_in(root, **OPTIONS)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "rgb2act_core", "train", str(spec), "--root", str(root)]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=os.environ | python_path(puppet_site),
    )
    assert done.returncode == 0, done.stderr
    assert "training is divided among 2 processes" in done.stderr
    return root


def python_path(site: Path) -> dict[str, str]:
    tests = Path(__file__).parents[1]
    return {"PYTHONPATH": os.pathsep.join([str(site), str(tests / "puppet"), str(tests.parent)])}


def models(files: Any, root: Path) -> list[Path]:
    return [
        files(root).folder("align") / "aligner.safetensors",
        files(root).folder("distill") / "student.safetensors",
        files(root).folder("train") / "policy.safetensors",
    ]


def bits(files: Any, root: Path) -> list[bytes]:
    curves = [path.with_name("metrics.jsonl") for path in models(files, root)]
    return [path.read_bytes() for path in [*models(files, root), *curves]]


def test_two_processes_train_the_models_of_one(files: Any, alone: Path, pair: Path) -> None:
    for one, two in zip(models(files, alone), models(files, pair), strict=True):
        assert one.parent.name == two.parent.name  # the same key
        expected, found = load_file(one), load_file(two)
        for name, values in expected.items():
            # Adam divides by the size of a gradient, so that rounding of 1e-7 in small ones may
            # change a weight by some per cent of a step; 20 steps of at most 2e-3
            assert bool(((found[name] - values).abs() < 1e-3).all()), name


@pytest.mark.thorough
def test_an_engine_starts_the_processes_and_they_train_the_same_bits(
    files: Any,
    cli: Callable[..., Any],
    spec_in: SpecIn,
    puppet_done: Path,
    pair: Path,
    tmp_path: Path,
) -> None:
    root = shutil.copytree(puppet_done, tmp_path / "root")
    spec = spec_in(root, **OPTIONS, compute={"devices": 2, "engine_workers": 2})
    found = cli("align", spec, "--root", root)
    assert found.returncode == 0, found.stderr
    assert "align: 2 processes of the engine local" in found.stderr
    aligner = files(root).folder("align")
    for name in ("aligner.safetensors", "metrics.jsonl"):
        assert (aligner / name).read_bytes() == (files(pair).folder("align") / name).read_bytes()


@pytest.mark.thorough
@pytest.mark.timeout(200 + 120 * KILLS)
def test_killed_processes_of_one_machine_resume_to_the_bits_of_torchrun(
    files: Any,
    cli: Callable[..., Any],
    spec_in: SpecIn,
    puppet_done: Path,
    puppet_site: Path,
    pair: Path,
    tmp_path: Path,
) -> None:
    rng = random.Random(1)
    for number in range(KILLS):
        root = shutil.copytree(puppet_done, tmp_path / f"killed-{number}")
        spec = spec_in(root, **OPTIONS, compute={"devices": 2})
        process = rgb2act_process.Fork(["train", spec, "--root", root], python_path(puppet_site))
        with process:
            victim = _victim(process.pid, follower=number % 2 == 0)
            time.sleep(rng.uniform(0, 6))
            victim.send_signal(signal.SIGKILL)
            _, err = process.communicate(timeout=100)
        resumed = cli("train", spec, "--root", root)
        assert resumed.returncode == 0, (err, resumed.stderr)
        assert bits(files, root) == bits(files, pair), number
        shutil.rmtree(root)


def test_a_process_that_ends_is_named_and_another_number_of_processes_resumes(
    cli: Callable[..., Any],
    spec_in: SpecIn,
    puppet_done: Path,
    puppet_site: Path,
    tmp_path: Path,
) -> None:
    root = shutil.copytree(puppet_done, tmp_path / "root")
    spec = spec_in(root, align={"steps": 100}, compute={"devices": 2})
    process = rgb2act_process.Fork(["align", spec, "--root", root], python_path(puppet_site))
    with process:
        victim = _victim(process.pid, follower=True)
        _wait_for(lambda: any(root.glob("store/align/*.partial/checkpoint.safetensors")))
        victim.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.wait() == 2
    assert f"process 1 of 2 ({victim.pid} on " in err
    assert "run again to resume" in err
    found = cli("align", spec, "--root", root, "--set", "compute.devices=1")
    assert found.returncode == 0, found.stderr
    assert "resuming at step" in found.stderr


def test_an_error_of_all_processes_is_printed_once(
    cli: Callable[..., Any], spec_in: SpecIn, puppet_done: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(puppet_done, tmp_path / "root")
    spec = spec_in(root, policy={"batch_size": 1}, compute={"devices": 2})
    found = cli("train", spec, "--root", root)
    assert found.returncode == 2
    words = "policy.batch_size: a batch of 1 cannot be divided among 2 processes"
    assert found.stderr.count(words) == 1
    assert "Traceback" not in found.stderr


def _victim(pid: int, follower: bool) -> psutil.Process:
    """Return the second process as soon as it was started, or the first one."""
    found: list[psutil.Process] = []

    def started() -> bool:
        children = psutil.Process(pid).children(recursive=True)
        found[:] = [c for c in children if "rgb2act_core.pipeline.follow" in c.cmdline()]
        return bool(found)

    _wait_for(started)
    return found[0] if follower else psutil.Process(pid)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
