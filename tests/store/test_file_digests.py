"""Digests of weights files are remembered on disk, and never believed wrongly."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from rgb2act_core.store import file_digests
from rgb2act_core.store.file_digests import file_digest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "WORTH", 4)
    monkeypatch.setattr(file_digests, "SETTLED", -1e9)  # every file counts as old
    return tmp_path / "cache" / "digests"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths that were really hashed."""
    found: list[Path] = []
    hash_ = file_digests._hash

    def noted(path: Path, files: tuple[Path, ...]) -> str:
        found.append(path)
        return hash_(path, files)

    monkeypatch.setattr(file_digests, "_hash", noted)
    return found


def again(path: Path) -> str:
    """Return the digest as another process would."""
    file_digests._digest.cache_clear()
    return file_digest(path)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once(weights: Path, read: list[Path]) -> None:
    assert again(weights) == again(weights) == sha(weights)
    assert read == [weights]


def test_another_content_of_the_same_size_and_time_is_noticed(weights: Path) -> None:
    again(weights)
    state = weights.stat()
    weights.write_bytes(b"9876543210")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # as rsync and tar do
    assert again(weights) == sha(weights)


def test_a_file_put_in_the_place_of_another_is_noticed(weights: Path, tmp_path: Path) -> None:
    again(weights)
    other = tmp_path / "other"
    other.write_bytes(b"abcdefghij")
    os.utime(other, ns=(0, weights.stat().st_mtime_ns))
    other.replace(weights)
    assert again(weights) == sha(weights)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sha256": "00", "seal": "00"}', b"\xff"])
def test_a_damaged_memory_is_not_believed(
    weights: Path, cache: Path, damage: bytes, read: list[Path]
) -> None:
    again(weights)
    (entry,) = cache.iterdir()
    entry.write_bytes(damage)
    assert again(weights) == again(weights) == sha(weights)
    assert len(read) == 2  # and it is written anew


def test_an_altered_digest_is_not_believed(weights: Path, cache: Path) -> None:
    right = again(weights)
    (entry,) = cache.iterdir()
    entry.write_text(entry.read_text().replace(right[:8], "00000000"))
    assert again(weights) == right


def test_a_file_that_has_just_changed_is_not_remembered(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "SETTLED", 3.0)
    again(weights)
    assert not cache.exists()
    clock = time.time
    monkeypatch.setattr(file_digests.time, "time", lambda: clock() + 60)
    again(weights)
    assert len(list(cache.iterdir())) == 1


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_ = file_digests._hash

    def change(path: Path, files: tuple[Path, ...]) -> str:
        digest = hash_(path, files)
        weights.write_bytes(b"changed meanwhile")
        return digest

    monkeypatch.setattr(file_digests, "_hash", change)
    again(weights)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_only_time(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "file"))
    assert again(weights) == sha(weights)


def test_a_folder_counts_all_its_files(tmp_path: Path, read: list[Path]) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"0123456789")
    before = again(folder)
    assert again(folder) == before
    assert read == [folder]
    (folder / "b").rename(folder / "c")
    assert again(folder) != before


def test_small_files_leave_nothing_behind(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "WORTH", 100)
    again(weights)
    assert not cache.exists()


def test_long_reading_is_shown(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again(weights)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(file_digests, "SILENT", -1.0)
    weights.write_bytes(bytes(20))
    again(weights)
    assert "read weights.pth for its digest" in capsys.readouterr().err
