"""Full disks and read-only stores."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a small disk, or remounts it with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        how = ["-o", f"remount,{options}"] if mounted else ["-t", "tmpfs", "-o", options, "none"]
        done = subprocess.run(["mount", *how, folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(root: Path, leave: int) -> Path:
    """Fill a disk except for some bytes."""
    ballast = root / "ballast"
    free = shutil.disk_usage(root).free - leave
    with ballast.open("wb") as file:
        for _ in range(free // 4096):
            file.write(bytes(4096))
    return ballast


@pytest.mark.slow
def test_full_disk_is_reported_and_the_next_run_resumes(
    files: Files,
    cli: Cli,
    spec_file: SpecFile,
    disk: Callable[[str], Path],
    puppet_done: Path,
) -> None:
    root = disk("size=4m")
    spec = spec_file()
    for stage, leave in {
        "collect": 24 << 10,
        "extract": 24 << 10,
        "align": 24 << 10,
        "train": 24 << 10,
        "act": 12 << 10,
    }.items():
        ballast = fill(root, leave)
        done = cli(stage, spec, "--root", root)
        assert done.returncode == 2, f"{stage}: {done.stderr}"
        assert "Traceback" not in done.stderr
        message = done.stderr.splitlines()[-1]
        assert str(root) in message, stage
        assert "disk is full" in message, stage
        ballast.unlink()
        assert cli(stage, spec, "--root", root).returncode == 0
    assert files(root).outcome() == files(puppet_done).outcome()
    assert files(root).partials() == []


@pytest.mark.slow
def test_read_only_store_is_reported(
    cli: Cli, spec_file: SpecFile, disk: Callable[[str], Path], puppet_done: Path
) -> None:
    root = disk("size=8m")
    shutil.copytree(puppet_done, root, dirs_exist_ok=True)
    disk("ro")
    done = cli("run", spec_file(seed=1), "--root", root)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "choose another folder" in done.stderr.splitlines()[-1]
    done = cli("run", spec_file(), "--root", root, "--json")
    assert done.returncode == 0, done.stderr
    assert "act: cached" in done.stderr
    assert cli("verify", "puppet", "--root", root).returncode == 0
    assert cli("check", spec_file(), "--root", root).returncode == 0
