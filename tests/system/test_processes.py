"""Worker processes of simulators."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rgb2act_core.system import processes


def prepared() -> None:
    pass


def write_after(path: Path, seconds: float) -> None:
    time.sleep(seconds)
    path.touch()


def test_running_work_is_finished_within_the_limit(tmp_path: Path) -> None:
    executor = processes.pool(1, prepared)
    running = executor.submit(write_after, tmp_path / "short", 0.2)
    waiting = [executor.submit(write_after, tmp_path / f"next{i}", 0.0) for i in range(3)]
    while not running.running():
        time.sleep(0.01)
    processes.stop(executor, 60.0)
    assert (tmp_path / "short").exists()
    assert sum(future.cancelled() for future in waiting) >= 2  # one may be queued already


def test_work_that_takes_longer_is_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executor = processes.pool(1, prepared)
    running = executor.submit(write_after, tmp_path / "long", 600.0)
    while not running.running():
        time.sleep(0.01)
    start = time.monotonic()
    processes.stop(executor, 0.5)
    assert time.monotonic() - start < 100  # far from the 600 s of the work
    assert not (tmp_path / "long").exists()
    assert "stopped 1 worker processes before they finished" in capsys.readouterr().err
