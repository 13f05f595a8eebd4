"""Numbered run folders: ids, which run a name means, and concurrent claims."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.store.run_file import read_run_file, root_of
from rgb2act_core.store.run_folders import RunId, all_runs, before, newest, numbered
from rgb2act_core.store.run_numbers import claim
from rgb2act_core.testing.faults import OPERATIONS, fault


def record(folder: Path, ended: str = "", **changes: Any) -> Path:
    """Write the record of a run without stages."""
    content = {
        "name": "demo",
        "version": "0.1.0",
        "created": "2026-01-02T03:04:05+0000",
        "spec": {},
        "stages": [],
        "ended": ended,
        "format": 3,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(content | changes))
    return folder


@pytest.mark.parametrize("text", ["demo@3", "demo.v2@0"])
def test_an_id_is_read_as_it_is_printed(text: str) -> None:
    assert str(RunId.parse(text)) == text


@pytest.mark.parametrize("text", ["demo", "demo@", "demo@03", "demo@-1", "@1", "a/demo@1", "a@b"])
def test_other_texts_are_no_ids(text: str) -> None:
    assert RunId.parse(text) is None


def test_runs_are_sorted_by_number(tmp_path: Path) -> None:
    for number in ("10", "2", "x", "0", "-1"):
        record(tmp_path / "demo" / number)
    (tmp_path / "demo" / "3").mkdir()
    (tmp_path / "store").mkdir()
    assert list(numbered(tmp_path / "demo")) == [2, 10]
    runs = all_runs(tmp_path)
    assert list(map(str, runs)) == ["demo@2", "demo@10"]
    assert [RunId.of(folder) for folder in runs.values()] == list(runs)
    assert [id.folder(tmp_path) for id in runs] == list(runs.values())


def test_a_name_is_its_newest_finished_run(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert newest(folder) is None
    record(folder / "1")
    record(folder / "2", "align")
    assert newest(folder) == folder / "2"
    record(folder / "1", "act")
    assert newest(folder) == folder / "1"
    record(folder / "3", "train")
    assert newest(folder) == folder / "3"
    assert newest(folder / "2") == folder / "2"


def test_a_folder_without_number_is_a_run(tmp_path: Path) -> None:
    folder = record(tmp_path / "demo", format=2)
    assert (newest(folder), RunId.of(folder)) == (folder, RunId("demo", 0))
    assert RunId("demo", 0).folder(tmp_path) == folder
    assert before(record(folder / "1")) == [folder]
    assert before(record(folder / "4")) == [folder / "1", folder]
    assert before(folder) == []


def test_paths_start_at_the_root_wherever_it_is(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (root / "store").mkdir(parents=True)
    run = record(root / "demo" / "1", root=str(root))
    old = record(root / "old", format=2)
    assert root_of(run, read_run_file(run)) == root
    assert root_of(old, read_run_file(old)) == root
    alone = record(tmp_path / "elsewhere" / "demo" / "1", root=str(root))
    assert root_of(alone, read_run_file(alone)) == root
    moved = root.rename(tmp_path / "moved")
    run = moved / "demo" / "1"
    assert root_of(run, read_run_file(run)) == moved


def _claim(task: tuple[Path, str]) -> str:
    root, identity = task
    return claim(root, "demo", identity).name


def test_processes_that_start_at_once_get_one_number_for_each_spec(tmp_path: Path) -> None:
    identities = ["a", "b", "c", "d"] * 3
    with multiprocessing.get_context("fork").Pool(4) as pool:
        names = pool.map(_claim, [(tmp_path, i) for i in identities], chunksize=1)
    assert sorted(names[:4]) == ["1", "2", "3", "4"]
    assert names == names[:4] * 3
    folders = [path.name for path in (tmp_path / "demo").iterdir() if path.is_dir()]
    assert sorted(folders) == sorted(names[:4])


def test_a_number_is_given_once(tmp_path: Path) -> None:
    """Not even a run without a record, or one that was removed, shares its number with another."""
    (tmp_path / "demo" / "4").mkdir(parents=True)
    assert _claim((tmp_path, "a")) == "5"
    shutil.rmtree(tmp_path / "demo" / "5")
    assert _claim((tmp_path, "a")) == "6"


def test_a_claim_that_failed_takes_no_number(tmp_path: Path) -> None:
    with fault(tmp_path / "sound") as counts:
        claim(tmp_path / "sound", "demo", "a")
    calls = [(operation, n + 1) for operation in OPERATIONS for n in range(counts[operation])]
    for operation, nth in calls:
        root = tmp_path / f"{operation} {nth}"
        with contextlib.suppress(UserError), fault(root, operation, nth=nth, error=errno.EROFS):
            claim(root, "demo", "a")
        assert claim(root, "demo", "a") == root / "demo" / "1"
        assert claim(root, "demo", "b") == root / "demo" / "2"
        files = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
        assert files == {"demo/1/identity", "demo/2/identity", "demo/last-number"}


def test_a_run_on_a_read_only_disk_is_found_without_its_number(tmp_path: Path) -> None:
    run = claim(tmp_path, "demo", "a")
    (tmp_path / "demo" / "last-number").unlink()
    with fault(tmp_path, "open", nth=2, error=errno.EROFS) as counts:  # the lock file
        assert claim(tmp_path, "demo", "a") == run
    assert counts["open"] == 2
