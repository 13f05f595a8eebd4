"""Operations on files fail on demand."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.testing import faults
from rgb2act_core.testing.faults import OPERATIONS, fault

pytest_plugins = ["rgb2act_core.testing.pytest_plugin"]


def work(folder: Path) -> None:
    """Do each operation twice."""
    for i in range(2):
        with (folder / f"{i}.part").open("w") as file:
            file.write("content")
            file.flush()
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            os.fsync(file.fileno())
        (folder / f"{i}.part").rename(folder / str(i))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("nth", [1, 2])
def test_only_the_nth_operation_fails(tmp_path: Path, operation: Any, nth: int) -> None:
    with fault(tmp_path, operation, nth=nth, error=errno.EDQUOT) as counts:
        with pytest.raises(OSError, match="quota") as caught:
            work(tmp_path)
        work(tmp_path)
    assert caught.value.errno == errno.EDQUOT
    assert counts[operation] == nth + 2
    work(tmp_path)


def test_a_path_of_bytes_is_counted(tmp_path: Path) -> None:
    full = fault(tmp_path, "write", nth=1, error=errno.ENOSPC)
    with full, pytest.raises(OSError, match="No space"), open(bytes(tmp_path / "a"), "wb") as file:  # noqa: PTH123
        file.write(b"a")


@pytest.mark.parametrize("linked", ["the folder", "the written path"])
def test_a_folder_may_be_reached_through_a_link(tmp_path: Path, linked: str) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    watched, written = (link, folder) if linked == "the folder" else (folder, link)
    with fault(watched) as counts:
        work(written)
    assert counts == {"open": 2, "write": 2, "lock": 2, "fsync": 2, "rename": 2}


def test_each_line_of_writelines_is_a_write(tmp_path: Path) -> None:
    with (
        fault(tmp_path, "write", nth=2, error=errno.ENOSPC) as counts,
        (tmp_path / "a").open("w") as file,
        pytest.raises(OSError, match="No space"),
    ):
        file.writelines(["one", "two", "three"])
    assert counts["write"] == 2
    assert (tmp_path / "a").read_text() == "one"


def test_other_folders_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with fault(tmp_path / "a", "open", nth=1, error=errno.EIO) as counts:
        work(tmp_path / "b")
    assert not counts


def test_without_a_number_operations_are_only_counted(
    tmp_path: Path, file_fault: Callable[..., Any]
) -> None:
    assert file_fault is faults.fault
    with file_fault(tmp_path) as counts:
        work(tmp_path)
        (tmp_path / "folder").mkdir()
    assert counts == {"open": 3, "write": 2, "lock": 2, "fsync": 2, "rename": 2}


def test_an_unknown_operation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="erase"), fault(tmp_path, "erase"):  # type: ignore[arg-type]
        pass
