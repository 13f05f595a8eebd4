"""Marks of runs that are under way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rgb2act_core.store import locks
from rgb2act_core.store.locks import is_held, locked
from rgb2act_core.store.run_marks import is_under_way, under_way
from rgb2act_core.system.hosts import host_name


def test_a_run_is_under_way_while_a_process_works_on_it(tmp_path: Path) -> None:
    assert not is_under_way(tmp_path)
    with under_way(tmp_path):
        with under_way(tmp_path):
            assert is_under_way(tmp_path)
        assert is_under_way(tmp_path)
    assert not is_under_way(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mark_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    mark = tmp_path / "running-0123abcd.lock"
    mark.write_text(f"999999\n{host_name()}\ntoken\n")
    assert not is_under_way(tmp_path)
    with under_way(tmp_path):
        assert not mark.exists()


def test_a_run_is_under_way_on_another_host_until_its_mark_is_no_longer_updated(
    tmp_path: Path,
) -> None:
    """``flock`` may only exclude processes of the same host."""
    mark = tmp_path / "running-0123abcd.lock"
    mark.write_text("1\nother-host\ntoken\n")
    assert is_under_way(tmp_path)
    with under_way(tmp_path):
        assert mark.exists()
    os.utime(mark, (0, 0))
    assert not is_under_way(tmp_path)


def test_a_lock_is_held_on_a_file_system_without_flock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(locks.errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    path = tmp_path / "a.lock"
    assert not is_held(path)
    with locked(path):
        assert is_held(path)
        os.utime(path, (0, 0))
        assert not is_held(path)
