"""Check where an HDF5 file keeps texts of any length, before the HDF5 library reads them.

The library never ends if the free space of a damaged heap has the size 0. The format is described
in section III.E, "Global Heap", of the HDF5 file format specification.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import h5py
import numpy as np

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
SIZES = (8, 8)  # bytes of addresses and lengths in the file
OBJECTS = 1_000_000  # maximal number in all heaps of an array
_NOWHERE = 2**64 - 1


def check_heaps(found: h5py.Dataset, stream: BinaryIO, size: int) -> None:
    """Raise OSError if a heap of a contiguous array with values of any length is damaged.

    ``stream`` reads the file, which has ``size`` bytes.
    """
    offset = found.id.get_offset()
    if offset is None or found.chunks is not None:
        return
    if found.file.id.get_create_plist().get_sizes() != SIZES:
        raise OSError("addresses do not have 8 bytes")
    stream.seek(offset)
    references = np.frombuffer(stream.read(found.size * REFERENCE.itemsize), np.uint8)
    if len(references) != found.size * REFERENCE.itemsize:
        raise OSError("the array extends beyond the end of the file")
    objects = 0
    for address in np.unique(references.view(REFERENCE)["address"]).tolist():
        if address not in (0, _NOWHERE):
            objects += _objects(stream, address + found.file.userblock_size, size)
        if objects > OBJECTS:
            raise OSError(f"the array has more than {OBJECTS} values")


def _objects(stream: BinaryIO, address: int, size: int) -> int:
    """Return the number of objects in a heap."""
    if address + 16 > size:
        raise OSError("a text is beyond the end of the file")
    stream.seek(address)
    signature, total = struct.unpack("<8sQ", stream.read(16))
    if signature[:5] != b"GCOL\x01" or not 16 <= total <= size - address:
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
