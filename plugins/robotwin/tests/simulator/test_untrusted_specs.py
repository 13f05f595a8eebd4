"""Which commands start the interpreter that a spec or the record of a run names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import rgb2act_process
import robotwin_servers

from rgb2act_core.store.files import read_json, write_record

pytestmark = pytest.mark.slow


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Return a path at which the interpreter of the spec creates a file."""
    return tmp_path / "started"


@pytest.fixture
def interpreter(marker: Path, tmp_path: Path) -> Path:
    """Return a program that leaves a mark."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def spec(interpreter: Path, tmp_path: Path) -> Path:
    """Return a spec that names the program."""
    path = tmp_path / "spec.toml"
    text = robotwin_servers.SPEC.replace(
        'clouds = "none"', f'clouds = "none"\npython = "{interpreter}"'
    )
    path.write_text(text)
    return path


@pytest.fixture
def recorded_run(run: Path, interpreter: Path, tmp_path: Path) -> Path:
    """Return a finished run whose record names the program."""
    runs = Path(shutil.copytree(run.parents[1], tmp_path / "runs"))
    path = runs / "deployed/1/run.json"
    record = read_json(path)
    record["spec"]["environment"]["python"] = str(interpreter)
    write_record(path, record)
    return runs / "deployed/1"


def test_check_starts_no_interpreter(spec: Path, tmp_path: Path, marker: Path) -> None:
    done = rgb2act_process.run(["check", spec, "--root", tmp_path / "runs"])
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


def test_verify_serve_and_report_start_no_interpreter(recorded_run: Path, marker: Path) -> None:
    for command in ("verify", "report"):
        done = rgb2act_process.run([command, recorded_run])
        assert done.returncode in (0, 1, 2), done.stderr
        assert "Traceback" not in done.stderr
        assert not marker.exists(), command
    for command in ("serve", "serve-xpolicylab"):
        with robotwin_servers.serving(command, recorded_run) as info:
            assert info["action_names"]
        assert not marker.exists(), command


@pytest.mark.parametrize("command", ["doctor", "run"])
def test_doctor_and_run_start_the_interpreter(
    spec: Path, tmp_path: Path, marker: Path, command: str
) -> None:
    root = [] if command == "doctor" else ["--root", tmp_path / "runs"]
    rgb2act_process.run([command, spec, *root])
    assert marker.exists()


def test_act_starts_the_interpreter(recorded_run: Path, marker: Path) -> None:
    rgb2act_process.run(["act", recorded_run])
    assert marker.exists()
