"""Errors of the operating system become one line that names the file and a remedy."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.store.disk_errors import guard
from rgb2act_core.store.files import atomic_write, write_text

WRITING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "the disk is full",
    errno.EMFILE: r"cannot be opened \(too many open files\); raise the limit with ulimit -n",
    errno.EIO: r"cannot be written \(input/output error\); check the disk, or choose another",
    errno.EREMOTEIO: r"cannot be written \(remote i/o error\); check the disk, or choose another",
    errno.ETIMEDOUT: r"cannot be written \(connection timed out\); check the network, or choose",
    errno.EHOSTDOWN: r"cannot be written \(host is down\); check the network, or choose another",
    errno.ENOTCONN: r"cannot be written \(.* is not connected\); check the network, or choose",
    errno.ECONNABORTED: r"cannot be written \(.* connection abort\); check the network, or choose",
    errno.ESTALE: r"was deleted or moved while it was in use \(stale file handle\); run again",
}
DENIED = {
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.ENOENT: "no such file or directory",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.EEXIST: "file exists",
    errno.ENAMETOOLONG: "file name too long",
    errno.ELOOP: "too many levels of symbolic links",
    errno.EXDEV: "invalid cross-device link",
    errno.EBUSY: "device or resource busy",
    errno.ENOLCK: "no locks available",
    errno.EOPNOTSUPP: "operation not supported",
    errno.ENODEV: "no such device",
    errno.EINVAL: "invalid argument",
}


@pytest.mark.parametrize("number", [*WRITING, *DENIED])
def test_each_error_names_the_file_and_a_remedy(tmp_path: Path, number: int) -> None:
    other = rf"cannot be written \({DENIED.get(number)}\); choose another folder with --root"
    message = rf"/a\.json: {WRITING.get(number, other)}"
    with pytest.raises(UserError, match=message), atomic_write(tmp_path / "a.json"):
        raise OSError(number, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECHILD, errno.ESRCH, errno.EINTR])
def test_errors_of_pipes_and_processes_pass_through(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match="broken"), guard(tmp_path):
        raise OSError(number, "broken")


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT])
def test_errors_of_sockets_pass_through_where_they_are_used(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match="broken"), guard(tmp_path, sockets=True):
        raise OSError(number, "broken")
    with pytest.raises(UserError, match="check the network"), guard(tmp_path, sockets=True):
        raise OSError(number, "broken", str(tmp_path / "a.json"))


def test_a_missing_file_elsewhere_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), guard(tmp_path / "store" / "a.json"):
        (tmp_path / "other" / "b").read_text()


def test_a_deleted_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "stage.partial"
    folder.mkdir()
    path = folder / "a.json"
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="was deleted or moved while it was in use"):
        write_text(path, "")


@pytest.mark.parametrize("path", ["file/store/a.json", "x" * 300, "/proc/none/a.json"])
def test_a_path_that_cannot_exist_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / path

    def write() -> None:
        with guard(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()

    with pytest.raises(UserError, match=r"a\.json|xxx"):
        write()


def test_a_full_disk_states_the_bytes_needed(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"the disk is full \(2 MB needed, .* free\)"),
        guard(tmp_path / "none" / "x", needed=2_000_000),
    ):
        raise OSError(errno.ENOSPC, "")
