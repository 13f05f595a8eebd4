"""The folder of all runs is created, and what killed processes left in it is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rgb2act_core.store.files import temporary_path
from rgb2act_core.store.root_folder import open_root
from rgb2act_core.system.hosts import host_name


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "episodes",
        "episodes/a-1",
        "features",
        "features/a-1",
        "embeddings/a-1",
        "align",
        "policy",
        "act",
        "seeds/b-2",
    ],
)
def test_files_of_killed_processes_are_removed(tmp_path: Path, folder: str) -> None:
    open_root(tmp_path)
    parent = tmp_path / "store" / folder
    parent.mkdir(parents=True, exist_ok=True)
    (parent / "1234.lock").write_text(f"999999999\n{host_name()}\n")
    if folder:
        name = temporary_path(parent / "a.json").name
        (parent / name.replace(f"-{os.getpid()}-", "-999999999-")).touch()
    open_root(tmp_path)
    assert [path for path in parent.iterdir() if path.is_file()] == []
