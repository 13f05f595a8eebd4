"""Check and unpack the compressed chunks of an HDF5 array, before the HDF5 library reads them.

The library unpacks a chunk to whatever size its data give: a chunk of 3 MB may fill 3 GB. Here a
chunk has at most the bytes that the array's type and chunk shape declare, unless it is small.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

EXPANSION = 1032  # of zlib at most
HARMLESS = 64 << 20  # bytes to which a chunk may unpack unchecked
CHUNKS = 1_000_000  # maximal number in an array
PACKED = 1.01  # largest size of a packed chunk in units of its size; zlib adds 0.03 %
HEADER = 1024  # bytes that a packed chunk may have in addition
REFERENCE_BYTES = 16  # of a value of any length: its length, and its position in a heap
CHECKSUM = 4  # bytes of Fletcher32
_KNOWN = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32)


def check_chunks(found: h5py.Dataset) -> None:
    """Raise OSError if a chunk is larger than declared, packed or unpacked."""
    filters = _filters(found)
    if not filters:
        return
    for info in _chunks(found):
        used = _used(filters, info)
        if h5py.h5z.FILTER_DEFLATE in used and info.size * EXPANSION > HARMLESS:
            _inflated(_packed(found, info, used), found)


def unpacked_chunks(found: h5py.Dataset) -> Iterator[bytes]:
    """Yield the content of each chunk of an array with values of any length.

    Raises OSError for a chunk that is larger than declared, and for other filters than those of
    the HDF5 library for any data.
    """
    filters = _filters(found)
    if unknown := set(filters) - set(_KNOWN):
        raise OSError(f"filter {min(unknown)} is not supported for texts")
    for info in _chunks(found):
        used = _used(filters, info)
        data = _packed(found, info, used)
        if h5py.h5z.FILTER_DEFLATE in used:
            data = _inflated(data, found)
        if h5py.h5z.FILTER_SHUFFLE in used:
            data = np.frombuffer(data, np.uint8).reshape(REFERENCE_BYTES, -1).T.tobytes()
        yield data


def _filters(found: h5py.Dataset) -> list[int]:
    """Return the codes of the filters in the order in which they were applied."""
    created = found.id.get_create_plist()
    return [created.get_filter(i)[0] for i in range(created.get_nfilters())]


def _chunks(found: h5py.Dataset) -> list[Any]:
    """Return offset, filters and size of each chunk."""
    infos: list[Any] = []

    def add(info: Any) -> bool | None:  # a result ends the iteration
        infos.append(info)
        return True if len(infos) > CHUNKS else None

    found.id.chunk_iter(add)
    if len(infos) > CHUNKS:
        raise OSError(f"the array has more than {CHUNKS} chunks")
    limit = PACKED * _declared(found) + HEADER
    for info in infos:
        if info.size > limit:
            raise OSError(f"the chunk at {info.chunk_offset} is larger than declared")
    return infos


def _declared(found: h5py.Dataset) -> int:
    """Return the bytes of a chunk that the type and the chunk shape declare."""
    width = REFERENCE_BYTES if found.dtype.hasobject else int(found.id.get_type().get_size())
    return int(math.prod(found.chunks)) * width


def _used(filters: list[int], info: Any) -> list[int]:
    """Return the filters that were applied to a chunk."""
    used = [code for i, code in enumerate(filters) if not info.filter_mask >> i & 1]
    if h5py.h5z.FILTER_DEFLATE in used:
        later = used[used.index(h5py.h5z.FILTER_DEFLATE) + 1 :]
        if later not in ([], [h5py.h5z.FILTER_FLETCHER32]):
            raise OSError("the array is compressed more than once")
    return used


def _packed(found: h5py.Dataset, info: Any, used: list[int]) -> bytes:
    """Return a chunk as it is in the file, without its checksum."""
    _, data = found.id.read_direct_chunk(info.chunk_offset)
    checked = used[-1:] == [h5py.h5z.FILTER_FLETCHER32]
    return bytes(data[:-CHECKSUM] if checked else data)


def _inflated(data: bytes, found: h5py.Dataset) -> bytes:
    limit = _declared(found)
    try:
        content = zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error as err:
        raise OSError(str(err)) from err
    if len(content) > limit:
        raise OSError("a chunk unpacks to more bytes than declared")
    return content
