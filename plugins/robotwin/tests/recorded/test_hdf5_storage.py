"""Texts and compressed arrays that would make the HDF5 library hang or fill the memory.

The library runs in this process, so a test that fails may hang until its time limit.
"""

from __future__ import annotations

import fcntl
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rgb2act_core import UserError
from rgb2act_core.recordings.hdf5 import read, read_attribute, read_text

PACKED = zlib.compress(bytes(70_000_000))  # 68 kB
TEXTS = ["lift", "the", "pot"]
STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (2,)},
    "gzip": {"chunks": (2,), "compression": "gzip"},
    "gzip and shuffle": {"chunks": (2,), "compression": "gzip", "shuffle": True},
}


def write_texts(path: Path, storage: str) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=TEXTS, dtype=h5py.string_dtype(), **STORAGE[storage])
    return path


def damage_heap(path: Path) -> None:
    """Set the size of a heap's free space to 0, for which the library searches without end."""
    data = bytearray(path.read_bytes())
    position = data.index(b"GCOL") + 16
    while True:
        index, length = struct.unpack_from("<H6xQ", data, position)
        if index == 0:
            break
        position += 16 + -(-length // 8) * 8
    struct.pack_into("<Q", data, position + 8, 0)
    path.write_bytes(data)


@pytest.mark.parametrize("storage", STORAGE)
def test_texts_are_read(tmp_path: Path, storage: str) -> None:
    assert read_text(write_texts(tmp_path / "a.hdf5", storage), "x") == TEXTS


@pytest.mark.timeout(30)
@pytest.mark.parametrize("storage", STORAGE)
def test_texts_in_a_damaged_heap_are_refused(tmp_path: Path, storage: str) -> None:
    path = write_texts(tmp_path / "a.hdf5", storage)
    damage_heap(path)
    with pytest.raises(UserError, match=r"a\.hdf5: x: cannot be read \(the texts overlap\)"):
        read(path, "x")


def test_texts_that_were_never_written_are_empty(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("contiguous", (2,), h5py.string_dtype())
        file.create_dataset("chunked", (2,), h5py.string_dtype(), chunks=(1,))
    assert read_text(tmp_path / "a.hdf5", "contiguous") == ["", ""]
    assert read_text(tmp_path / "a.hdf5", "chunked") == ["", ""]


def test_texts_with_an_unknown_filter_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset(
            "x", data=TEXTS, dtype=h5py.string_dtype(), chunks=(2,), compression="lzf"
        )
    with pytest.raises(UserError, match="filter 32000 is not supported for texts"):
        read(tmp_path / "a.hdf5", "x")


def test_texts_inside_of_other_values_are_refused(tmp_path: Path) -> None:
    numbered = np.dtype([("number", "i4"), ("text", h5py.string_dtype())])
    pairs = h5py.h5t.array_create(h5py.h5t.py_create(h5py.string_dtype(), logical=True), (2,))
    rows = h5py.h5t.vlen_create(h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT32))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["compound"] = np.array([(1, "lift")], numbered)
        file["numbers"] = np.arange(3)
        file.create_dataset("region", (1,), h5py.regionref_dtype)[0] = file["numbers"].regionref[1:]
        for name, kind in ((b"pairs", pairs), (b"rows", rows)):
            h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple((1,)))
    for key in ("compound", "region", "pairs", "rows"):
        with pytest.raises(UserError, match=f"{key}: .*values of this type are not supported"):
            read(tmp_path / "a.hdf5", key)


def test_texts_in_the_header_of_an_array_are_refused(tmp_path: Path) -> None:
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        array = h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((3,)), compact)
        h5py.Dataset(array)[:] = TEXTS
    with pytest.raises(UserError, match="texts in the header of an array are not supported"):
        read(tmp_path / "a.hdf5", "x")


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_compressed_arrays_are_read(
    tmp_path: Path, compression: str | None, checksum: bool, shuffle: bool
) -> None:
    values = np.random.default_rng(0).normal(size=(10, 14)).astype(np.float32)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset(
            "x",
            data=values,
            chunks=(4, 14),
            compression=compression,
            fletcher32=checksum,
            shuffle=shuffle,
        )
    assert np.array_equal(read(tmp_path / "a.hdf5", "x"), values)
    assert np.array_equal(read(tmp_path / "a.hdf5", "x", 3), values[3])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (10, r"the chunk at \(0, 0\) is larger than declared"),
        (100_000, "a chunk unpacks to more bytes than declared"),
    ],
)
def test_a_chunk_that_unpacks_to_more_than_declared_is_refused(
    tmp_path: Path, rows: int, message: str
) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        array = file.create_dataset("x", (rows, 14), "f4", chunks=(rows, 14), compression="gzip")
        array.id.write_direct_chunk((0, 0), PACKED)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.hdf5", "x", 0)


def test_an_array_that_is_compressed_twice_is_refused(tmp_path: Path) -> None:
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((1000, 14))
    created.set_deflate(9)
    created.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((1000, 14))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        array = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, created)
        h5py.Dataset(array)[:] = np.arange(14)
    with pytest.raises(UserError, match="the array is compressed more than once"):
        read(tmp_path / "a.hdf5", "x")


@pytest.mark.timeout(30)
def test_attributes_are_read_unless_a_heap_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_group("state").attrs["names"] = TEXTS
    assert read_attribute(path, "state", "names").tolist() == TEXTS
    assert read_attribute(path, "state", "other") is None
    damage_heap(path)
    with pytest.raises(UserError, match=r"a\.hdf5: state: attribute 'names': cannot be read"):
        read_attribute(path, "state", "names")


def test_a_file_that_another_program_has_locked_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"] = np.arange(3)
    with (tmp_path / "a.hdf5").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as h5py does while it writes
        assert read(tmp_path / "a.hdf5", "x").tolist() == [0, 1, 2]
