"""Claims on entries: one holder at a time, with and without ``flock``, and what sweeping keeps."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rgb2act_core.store import claims as module
from rgb2act_core.store import heartbeat, locks
from rgb2act_core.store.claims import Claims, has_claims
from rgb2act_core.store.group_writer import sweep
from rgb2act_core.system.hosts import host_name

ENDED = 999_999_999  # above the largest process id


@pytest.fixture(params=[True, False], ids=["flock", "no flock"])
def with_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Run a test with ``flock``, and on a file system that does not have it."""

    def fail(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if not request.param:
        monkeypatch.setattr(fcntl, "flock", fail)
    module._announce_no_locks.cache_clear()
    yield request.param
    module._announce_no_locks.cache_clear()


@pytest.mark.usefixtures("with_flock")
def test_one_holder_at_a_time_has_a_claim_and_leaves_no_file(tmp_path: Path) -> None:
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        assert first.take("a")
        assert not second.take("a")
        assert second.holder("a") == f"process {os.getpid()} on {host_name()}"
        assert second.take("b")
        assert has_claims(tmp_path)
        first.release("a")
        assert second.take("a")
    assert not has_claims(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_locks_are_announced_once(
    with_flock: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Claims(tmp_path / "entries") as claims:
        (tmp_path / "entries").mkdir()
        assert claims.take("a")
        assert claims.take("b")
    line = (
        f"{tmp_path}: this file system has no file locks (flock); claims are files that other"
        " processes respect while they are updated\n"
    )
    assert capfd.readouterr().err == ("" if with_flock else line)


@pytest.mark.parametrize("host", ["otherhost", host_name()])
def test_the_claim_of_an_ended_process_is_taken_over(
    with_flock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    (tmp_path / "a.lock").write_text(f"{ENDED}\n{host}\ntoken\n")
    monkeypatch.setattr(locks, "STALE", 0.05)
    with Claims(tmp_path) as claims:
        at_once = with_flock and host == host_name()  # only then its end is known
        assert claims.take("a") == at_once
        if not at_once:
            end = time.monotonic() + 20
            while not claims.take("a"):
                assert time.monotonic() < end
    assert list(tmp_path.iterdir()) == []


def test_one_thread_updates_all_claims_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    before = threading.active_count()
    with Claims(tmp_path) as claims, Claims(tmp_path) as others:
        paths = [tmp_path / f"{name}.lock" for name in range(5)]
        for name in range(5):
            assert (claims if name % 2 else others).take(str(name))
        assert threading.active_count() == before + 1
        for path in paths:
            os.utime(path, (0, 0))
        end = time.monotonic() + 20
        while any(path.stat().st_mtime == 0 for path in paths):
            assert time.monotonic() < end
    assert threading.active_count() == before


@pytest.mark.usefixtures("with_flock")
def test_sweeping_leaves_what_a_claimed_entry_has(tmp_path: Path) -> None:
    """The processes of two containers may share a host name, but not their numbers."""
    partial = tmp_path / f".a.partial-{host_name()}-{ENDED}-0123abcd"
    partial.mkdir()
    with Claims(tmp_path) as claims:
        assert claims.take("a")
        assert sweep(tmp_path) == 0
        assert partial.exists()
        claims.release("a")
        assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_partial_entry_of_another_host_is_swept_once_it_is_old(tmp_path: Path) -> None:
    partial = tmp_path / f".a.partial-elsewhere-{ENDED}-0123abcd"
    partial.mkdir()
    (partial / "data").touch()
    assert sweep(tmp_path) == 0
    for path in (partial / "data", partial):
        os.utime(path, (0, 0))
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_claim_file_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text(f"{ENDED}\n{host_name()}\ntoken\n")
    assert sweep(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
