"""Free memory in containers and batch jobs, and errors of memory that ran out."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rgb2act_core.system import containers, devices, memory

Group = Callable[..., None]
V1, V2 = ("limit_in_bytes", "usage_in_bytes"), ("max", "current")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Return a function that writes the files of a control group."""
    monkeypatch.setattr(containers, "CGROUP", tmp_path)
    monkeypatch.setattr(containers, "MEMBERSHIP", tmp_path / "membership")

    def write(name: str, values: tuple[object, object], files: tuple[str, str] = V2) -> None:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, value in zip(files, values, strict=True):
            (folder / f"memory.{file}").write_text(f"{value}\n")

    return write


def test_memory_is_at_most_that_of_the_container(group: Group) -> None:
    group("", (5000, 2000))
    assert devices.free_memory("cpu") == 3000
    assert memory.total_memory("cpu") == 5000


def test_without_a_limit_memory_is_that_of_the_machine(group: Group) -> None:
    group("", ("max", 2000))
    group("memory", (2**63 - 4096, 2000), V1)
    assert memory.available_memory() > 10**6
    assert memory.total_memory("cpu") > 10**6


@pytest.mark.parametrize("name", ["inactive_file", "active_file", "slab_reclaimable"])
def test_cached_files_count_as_free(group: Group, tmp_path: Path, name: str) -> None:
    group("", (5000, 5000))
    (tmp_path / "memory.stat").write_text(f"anon 1000\n{name} 4000\n")
    assert memory.available_memory() == 4000


def test_the_group_of_a_job_and_those_above_it_count(group: Group, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("3:cpu:/other\n0::/slurm/job_7/step\n")
    group("slurm/job_7/step", ("max", 100))
    group("slurm/job_7", (5000, 2000))
    group("slurm", (4000, 3500))
    assert memory.available_memory() == 500
    assert memory.total_memory("cpu") == 4000


def test_groups_of_version_1_count(group: Group, tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("4:memory:/job\n0::/\n")
    group("memory/job", (5000, 5000), V1)
    stat = "inactive_file 1\ntotal_inactive_file 1500\ntotal_active_file 500\n"
    (tmp_path / "memory/job/memory.stat").write_text(stat)
    assert memory.available_memory() == 2000
    assert memory.total_memory("cpu") == 5000


@pytest.mark.parametrize(
    ("err", "expected"),
    [
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "no space"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("can't start new thread"), True),
    ],
)
def test_errors_of_libraries_that_mean_no_memory(err: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(err) == expected


# arrays of 16 MiB, as networks allocate them
ARRAYS = """
import resource
import numpy as np
from rgb2act_core.system import devices, memory
{first}
def work():
    arrays = [np.ones(2 << 20) for _ in range(4)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with devices.measure_peak_memory("cpu") as used:
    work()
peak = used()
print(faults, -1 if peak is None else peak >> 20)
"""
GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="sets options of the C library"
)


def faults_and_peak(first: str, **variables: str) -> tuple[int, int]:
    """Return page faults of repeated work after a line, and the MiB measured for its last turn.

    The MiB are -1 if they cannot be measured.
    """
    script = ARRAYS.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    faults, peak = map(int, done.stdout.split())
    return faults, peak


@GLIBC
def test_freed_memory_is_reused_and_still_measured() -> None:
    cleared, _ = faults_and_peak("")
    reused, peak = faults_and_peak("memory.reuse_freed_memory()")
    assert reused * 10 < cleared
    assert 60 <= peak <= 80 or peak == -1  # where the kernel does not measure it


@GLIBC
@pytest.mark.parametrize(
    "own",
    [
        {"MALLOC_MMAP_THRESHOLD_": "100000"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=100000"},
    ],
)
def test_an_allocator_that_the_environment_sets_up_is_left_as_it_is(own: dict[str, str]) -> None:
    reused, _ = faults_and_peak("memory.reuse_freed_memory()")
    cleared, _ = faults_and_peak("memory.reuse_freed_memory()", **own)
    assert reused * 10 < cleared
