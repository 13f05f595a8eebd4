"""The guard for files that others wrote."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgb2act_core.errors import UserError
from rgb2act_core.store.files import read_json
from rgb2act_core.system import input_files


def test_regular_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(path)
    assert input_files.read_regular(tmp_path / "link") == b"abc"
    assert input_files.check_regular(path).st_size == 3


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
def test_other_kinds_of_file_are_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero") if kind == "a device" else tmp_path / "a"
    if kind == "a named pipe":
        os.mkfifo(path)
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "a socket":
            listener.bind(str(path))
        with pytest.raises(UserError, match=f"^{path}: is {kind}; give a regular file$"):
            input_files.check_regular(path)
        expected = OSError if kind == "a socket" else UserError  # sockets can't be opened
        with pytest.raises(expected):
            input_files.read_regular(path)


def test_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        input_files.open_regular(tmp_path / "a")
    with pytest.raises(IsADirectoryError):
        input_files.open_regular(tmp_path)


def test_sizes_are_compared_with_the_limit_and_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(2000))
    with pytest.raises(UserError, match=r"a: has 2 kB, at most 1 kB are read"):
        input_files.read_regular(path, 1000)
    monkeypatch.setattr(input_files, "available_memory", lambda: 3000)
    with pytest.raises(UserError, match=r"a: needs 2 kB of memory, but 3 kB are free"):
        input_files.read_regular(path)
    with pytest.raises(UserError, match=r"a: xyz: needs 1e\+06 TB"):
        input_files.check_memory(path, 10**18, "xyz")


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "outside").touch()
    (folder / "inside").touch()
    (folder / "good").symlink_to(folder / "inside")
    (folder / "bad").symlink_to(tmp_path / "outside")
    input_files.check_within(folder / "good", folder)
    with pytest.raises(
        UserError, match=r"bad: is a link to .*outside, outside .*data; give the folder"
    ):
        input_files.check_within(folder / "bad", folder)


@pytest.mark.parametrize("levels", [101, 2000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_deeply_nested_json_is_refused(
    tmp_path: Path, levels: int, brackets: tuple[str, str]
) -> None:
    text = brackets[0] * levels + "1" + brackets[1] * levels
    with pytest.raises(ValueError, match="nested too deeply"):
        input_files.parse_json(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json: cannot be read .*nested too deeply"):
        read_json(path)


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        input_files.parse_json(data)
