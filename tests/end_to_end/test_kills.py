"""A run that is killed at random moments resumes to the same bits and leaves no stray file.

A few kills are tried. ``RGB2ACT_KILLS=200`` tries another number; ``pytest -s`` shows them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rgb2act_process

KILLS = int(os.environ.get("RGB2ACT_KILLS", "2"))
PER_RUN = 4  # kills before a run is left to finish


def names(root: Path) -> list[str]:
    """Return all files without TensorBoard's and the times, which a resumed stage leaves out."""
    paths = (path.relative_to(root) for path in root.rglob("*"))
    left_out = {"tensorboard", "timings", "puppet.toml"}
    return sorted(str(path) for path in paths if not left_out & set(path.parts))


@pytest.mark.slow
@pytest.mark.timeout(100 + 60 * KILLS)
def test_random_kills_change_no_bit(
    files: Any,
    cli: Callable[..., Any],
    spec_file: Callable[..., Path],
    puppet_site: Path,
    puppet_done: Path,
    tmp_path: Path,
) -> None:
    rng, spec, done = random.Random(0), spec_file(), 0
    start = time.monotonic()
    assert cli("run", spec, "--root", tmp_path / "timed").returncode == 0
    seconds = time.monotonic() - start
    path = os.pathsep.join([str(puppet_site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    root, failures = tmp_path / "killed", []
    while done < KILLS:
        for _ in range(min(PER_RUN, KILLS - done)):
            process = rgb2act_process.Fork(
                ["run", spec, "--root", root], {"PYTHONPATH": _paths(path)}
            )
            with process:
                try:
                    process.communicate(timeout=rng.uniform(0, 1.1 * seconds))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            done += 1
        resumed = cli("run", spec, "--root", root)
        if resumed.returncode or files(root).outcome() != files(puppet_done).outcome():
            failures.append(f"{done}: the bits differ {resumed.stderr}")
        if stray := sorted({*names(root)} ^ {*names(puppet_done)}):
            failures.append(f"{done}: files differ: {stray}")
        print(f"{done} kills {failures}", flush=True)
        shutil.rmtree(root)
    assert failures == []


def _paths(site: str) -> str:
    tests = Path(__file__).parents[1]
    return os.pathsep.join([site, str(tests / "puppet"), str(tests.parent)])
