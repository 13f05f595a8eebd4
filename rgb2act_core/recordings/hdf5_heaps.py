"""Check where an HDF5 file keeps texts of any length, before the HDF5 library reads them.

The library never ends if the free space of a damaged heap has the size 0. The format is described
in section III.E, "Global Heap", of the HDF5 file format specification.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5_chunks import unpacked_chunks

SIGNATURE = b"GCOL\x01\0\0\0"
REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
SIZES = (8, 8)  # bytes of addresses and lengths in the file
OBJECTS = 1_000_000  # maximal number in all heaps of an array
_NOWHERE = 2**64 - 1


def check_heaps(found: h5py.Dataset, stream: BinaryIO, size: int) -> None:
    """Raise OSError if a heap of an array with values of any length is damaged.

    ``stream`` reads the file, which has ``size`` bytes.
    """
    _check_type(found.dtype)
    if found.file.id.get_create_plist().get_sizes() != SIZES:
        raise OSError("addresses do not have 8 bytes")
    objects, checked = 0, {0, _NOWHERE}
    for references in _references(found, stream):
        for address in set(references["address"].tolist()) - checked:
            checked.add(address)
            objects += _objects(stream, address + found.file.userblock_size, size)
            if objects > OBJECTS:
                raise OSError(f"the array has more than {OBJECTS} values")


def check_all_heaps(stream: BinaryIO) -> None:
    """Raise OSError if a heap anywhere in a file is damaged: attributes do not state theirs."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size, address = len(content), content.find(SIGNATURE)
        while address >= 0:
            _objects(stream, address, size)
            address = content.find(SIGNATURE, address + 1)


def _check_type(dtype: np.dtype[Any]) -> None:
    """Raise OSError unless values are texts or rows of numbers: others refer to further heaps."""
    base = h5py.check_vlen_dtype(dtype)
    if h5py.check_string_dtype(dtype) is None and (base is None or np.dtype(base).hasobject):
        raise OSError("values of this type are not supported")


def _references(found: h5py.Dataset, stream: BinaryIO) -> Iterator[NDArray[np.void]]:
    """Yield the positions in heaps of the values of the array, or of each of its chunks."""
    if found.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        raise OSError("texts in the header of an array are not supported")
    if found.chunks is not None:
        for data in unpacked_chunks(found):
            yield _as_references(data, math.prod(found.chunks))
    elif (offset := found.id.get_offset()) is not None:
        stream.seek(offset)
        yield _as_references(stream.read(found.size * REFERENCE.itemsize), found.size)


def _as_references(data: bytes, count: int) -> NDArray[np.void]:
    if len(data) != count * REFERENCE.itemsize:
        raise OSError("the array extends beyond the end of the file")
    return np.frombuffer(data, REFERENCE)


def _objects(stream: BinaryIO, address: int, size: int) -> int:
    """Return the number of objects in a heap."""
    if address + 16 > size:
        raise OSError("a text is beyond the end of the file")
    stream.seek(address)
    signature, total = struct.unpack("<8sQ", stream.read(16))
    if not signature.startswith(SIGNATURE) or not 16 <= total <= size - address:
        raise OSError("a text is at an address without texts")
    position = count = 0
    data = stream.read(total - 16)
    while position + 16 <= len(data):
        index, length = struct.unpack_from("<H6xQ", data, position)
        step = length if index == 0 else 16 + -(-length // 8) * 8  # 0 is free space
        if step < 16 or step > len(data) - position:
            raise OSError("the texts overlap")
        position += step
        count += 1
        if count > OBJECTS:
            break
    return count
