"""Damaged and hostile files of ``torch.save`` are refused or read right."""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rgb2act_core import UserError
from rgb2act_core.system import input_files
from rgb2act_core.weights import read_checkpoint

TENSORS = {"a": torch.arange(2000.0), "b": torch.ones(30, 40, dtype=torch.bfloat16)}
Change = Callable[[str, bytes], bytes]


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[k], TENSORS[k]) for k in found)


def rezip(path: Path, change: Change = lambda _, data: data, deflated: bool = False) -> Path:
    """Return a copy of a file of torch.save, with its members changed."""
    torch.save(TENSORS, path)
    copy = path.with_name("copy.pth")
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return copy


def test_compressed_archives_are_read_right(tmp_path: Path) -> None:
    assert same(read_checkpoint(rezip(tmp_path / "a.pth", deflated=True)))


def test_an_archive_of_numpy_is_called_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "jax.npz", a=np.zeros(3))
    with pytest.raises(UserError, match=r"jax\.npz: .*an archive of NumPy, which is not read"):
        read_checkpoint(tmp_path / "jax.npz")


def test_unknown_storages_and_shared_ones_are_read(tmp_path: Path) -> None:
    shared = torch.tensor(range(6), dtype=torch.uint16)
    torch.save({"a": shared, "b": shared[2:], "c": torch.zeros(2, 2).bool()}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found["b"].tolist() == [2, 3, 4, 5]


def test_a_storage_that_is_shorter_than_its_tensor_is_refused(tmp_path: Path) -> None:
    short = rezip(tmp_path / "a.pth", lambda name, data: data[:100] if "data/0" in name else data)
    with pytest.raises(UserError, match=r"copy\.pth: .*storage '0' has 100 of 8,000 bytes"):
        read_checkpoint(short)


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_files, "available_memory", lambda: 10**7)
    large = rezip(tmp_path / "a.pth", lambda _, data: data + bytes(10**7), deflated=True)
    assert large.stat().st_size < 10**6
    with pytest.raises(UserError, match=r"unpacking it: needs .* of memory, but 10 MB are free"):
        read_checkpoint(large)


def test_a_storage_of_an_older_file_that_is_larger_than_the_file_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace((1000).to_bytes(2, "little"), (65000).to_bytes(2, "little")))
    with pytest.raises(UserError, match=r"its tensors declare 260,000 bytes"):
        read_checkpoint(path)


def test_safetensors_are_recognised_by_their_content(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.pth")
    assert same(read_checkpoint(tmp_path / "a.pth"))
    torch.save(TENSORS, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"has the format of torch\.save; rename it to b\.pth"):
        read_checkpoint(tmp_path / "b.safetensors")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_web_page_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n<!DOCTYPE html><html>log in</html>")
    with pytest.raises(UserError, match="is a web page, not weights; accept the licence"):
        read_checkpoint(tmp_path / name)


class Code:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_checking_an_archive_runs_no_code(tmp_path: Path) -> None:
    content = pickle.dumps(collections.OrderedDict(a=Code(tmp_path / "marker")), protocol=2)
    hostile = rezip(tmp_path / "a.pth", lambda n, data: content if "data.pkl" in n else data)
    with pytest.raises(UserError, match="would run"):
        read_checkpoint(hostile)
    assert not (tmp_path / "marker").exists()


@settings(
    max_examples=120,
    deadline=5000,  # ms; a damaged file of a few kilobytes takes a few
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["zip", "deflated", "legacy", "safetensors"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=4),
    st.integers(0, 300),
)
def test_mutated_weights_are_read_or_refused(
    tmp_path: Path, kind: str, at: float, insert: bytes, drop: int
) -> None:
    path = tmp_path / "a.pth"
    small = {"a": torch.arange(20.0), "b": torch.ones(3, 2)}
    if kind == "safetensors":
        save_file(small, path)
    else:
        torch.save(small, path, _use_new_zipfile_serialization=kind != "legacy")
    if kind == "deflated":
        path = rezip(path, deflated=True)
    data = path.read_bytes()
    start = int(at * len(data))
    path.write_bytes(data[:start] + insert + data[start + drop :])
    message = f"{path}:"
    try:
        read_checkpoint(path)
    except UserError as err:
        message = str(err)
    assert message.startswith(str(path))
