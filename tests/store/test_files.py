"""Atomic files and JSON."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.store import files
from rgb2act_core.store.files import (
    atomic_folder,
    atomic_write,
    read_json,
    sweep_files,
    write_json,
)
from rgb2act_core.store.tensors import read_tensors, write_tensors
from rgb2act_core.system.hosts import host_name


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_old_file_and_deletes_the_temporary(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


KILLED = """
    import sys
    from pathlib import Path
    from rgb2act_core.store.files import atomic_write
    with atomic_write(Path(sys.argv[1])) as temporary:
        with temporary.open("w") as stream:
            stream.write("half")
            stream.flush()
            print("writing", flush=True)
            sys.stdin.read()
"""


def test_a_kill_leaves_no_half_file_under_the_final_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert not (tmp_path / "a.json").exists()
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".a.json.")  # hidden, and StageFolder.open deletes it
    assert leftover.endswith(".part")


def test_content_and_folder_are_flushed_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = files._sync, Path.replace

    def record_sync(path: Path) -> None:
        calls.append("folder" if path == tmp_path else "file")
        sync(path)

    def record_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(files, "_sync", record_sync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_json(tmp_path / "a.json", {})
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)}, {"step": 1})
    finally:
        os.umask(before)
    for name in names(tmp_path):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


def test_temporary_files_of_ended_processes_are_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    other_host = f".a.json.elsewhere-{ended.pid}-0123abcd.part"
    running = f".a.json.{host_name()}-{os.getpid()}-0123abcd.part"
    killed = f".a.json.{host_name()}-{ended.pid}-0123abcd.part"
    for name in (other_host, running, killed, "a.json", ".hidden", "b.part"):
        (tmp_path / name).touch()
    sweep_files(tmp_path)
    assert names(tmp_path) == sorted([other_host, running, "a.json", ".hidden", "b.part"])


def test_temporary_files_are_swept_on_a_host_with_dots_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "host_name", lambda: "node1.cluster.edu")
    monkeypatch.setattr(files, "is_running", lambda _: False)
    (tmp_path / ".a.json.node1.cluster.edu-7-0123abcd.part").touch()
    sweep_files(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "set"
    with atomic_folder(path) as folder:
        (folder / "file").write_text("x")
        assert not path.exists()
    assert names(path) == ["file"]
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "other"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["new"]
    refused = pytest.raises(UserError, match=r"set: cannot be written \(.*\); use --into")
    with refused, atomic_folder(path, remedy="use --into"):
        pass
    assert names(path.parent) == ["set"]


def test_a_folder_replaces_what_killed_processes_left_of_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    kept = [
        f".set.{host_name()}-{os.getppid()}-0123abcd.part",  # it is running
        f".set.elsewhere-{ended.pid}-0123abcd.part",
        f".set2.{host_name()}-{ended.pid}-0123abcd.part",
    ]
    for name in (*kept, f".set.{host_name()}-{ended.pid}-0123abcd.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with atomic_folder(tmp_path / "set"):
        pass
    assert names(tmp_path) == sorted(["set", *kept])


def test_a_killed_write_is_swept(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # above the largest process id
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.json"):
            raise KeyboardInterrupt
    assert len(names(tmp_path)) == 1
    sweep_files(tmp_path)
    assert names(tmp_path) == []


def test_a_missing_folder_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep_files(tmp_path / "none")


def test_json_and_tensors_are_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None]}
    write_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)}, {"step": 1})
    tensors, meta = read_tensors(tmp_path / "a.safetensors")
    assert (tensors["x"].tolist(), meta) == ([1, 1], {"step": 1})


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "is not a JSON object")]
)
def test_damaged_json_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json: {message}.*; delete it and run again"):
        read_json(tmp_path / "a.json")


def test_damaged_tensors_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=r"a\.safetensors: is damaged"):
        read_tensors(tmp_path / "a.safetensors")
