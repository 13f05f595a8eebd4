"""Digests of weights files are cached on disk; a stale or damaged entry is never used."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.store import file_digests
from rgb2act_core.store.file_digests import file_digest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "CACHED_FROM", 4)
    monkeypatch.setattr(file_digests, "SETTLED", -1e9)  # every file counts as old
    return tmp_path / "cache" / "digests"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"0123456789")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths that are hashed during the test."""
    hashed: list[Path] = []
    hash_ = file_digests._hash

    def recorded(path: Path, files: tuple[Path, ...]) -> str:
        hashed.append(path)
        return hash_(path, files)

    monkeypatch.setattr(file_digests, "_hash", recorded)
    return hashed


def fresh_digest(path: Path) -> str:
    """Return the digest as a new process would."""
    file_digests._digest.cache_clear()
    return file_digest(path)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once(weights: Path, read: list[Path]) -> None:
    assert fresh_digest(weights) == fresh_digest(weights) == sha(weights)
    assert read == [weights]


def test_new_content_of_equal_size_and_mtime_is_detected(weights: Path) -> None:
    fresh_digest(weights)
    state = weights.stat()
    weights.write_bytes(b"9876543210")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # as rsync and tar do
    assert fresh_digest(weights) == sha(weights)


def test_a_replaced_file_is_detected(weights: Path, tmp_path: Path) -> None:
    fresh_digest(weights)
    other = tmp_path / "other"
    other.write_bytes(b"abcdefghij")
    os.utime(other, ns=(0, weights.stat().st_mtime_ns))
    other.replace(weights)
    assert fresh_digest(weights) == sha(weights)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sha256": "00", "seal": "00"}', b"\xff"])
def test_a_damaged_entry_is_ignored_and_rewritten(
    weights: Path, cache: Path, damage: bytes, read: list[Path]
) -> None:
    fresh_digest(weights)
    (entry,) = cache.iterdir()
    entry.write_bytes(damage)
    assert fresh_digest(weights) == fresh_digest(weights) == sha(weights)
    assert len(read) == 2


def test_an_altered_digest_is_ignored(weights: Path, cache: Path) -> None:
    right = fresh_digest(weights)
    (entry,) = cache.iterdir()
    entry.write_text(entry.read_text().replace(right[:8], "00000000"))
    assert fresh_digest(weights) == right


def test_a_file_that_has_just_changed_is_not_cached(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "SETTLED", 3.0)
    fresh_digest(weights)
    assert not cache.exists()
    clock = time.time
    monkeypatch.setattr(file_digests.time, "time", lambda: clock() + 60)
    fresh_digest(weights)
    assert len(list(cache.iterdir())) == 1


def test_a_file_that_changes_during_hashing_is_not_cached(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hash_ = file_digests._hash

    def change(path: Path, files: tuple[Path, ...]) -> str:
        digest = hash_(path, files)
        weights.write_bytes(b"changed meanwhile")
        return digest

    monkeypatch.setattr(file_digests, "_hash", change)
    fresh_digest(weights)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_error(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path / "file"))
    assert fresh_digest(weights) == sha(weights)


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path: Path, read: list[Path]) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"0123456789")
    before = fresh_digest(folder)
    assert fresh_digest(folder) == before
    assert read == [folder]
    (folder / "b").rename(folder / "c")
    assert fresh_digest(folder) != before


def test_digests_of_small_files_are_not_cached(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "CACHED_FROM", 100)
    fresh_digest(weights)
    assert not cache.exists()


def test_slow_hashing_shows_progress(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_digest(weights)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(file_digests, "SILENT", -1.0)
    weights.write_bytes(bytes(20))
    fresh_digest(weights)
    assert "hash weights.pth" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"weights\.pth: is a"):
        file_digest(path)
