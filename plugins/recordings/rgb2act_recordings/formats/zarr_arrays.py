"""Arrays of zarr format 2. Only numbers are read, and only codecs that hold plain bytes.

The chunks of an array are files ``0.0.0``, numbered by their position in the grid. Source:
https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from functools import lru_cache
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, check_memory, parse_json

from .zarr_stores import AGAIN, Store

CODECS = ("blosc", "gzip", "lz4", "zlib", "zstd")
MOST_CHUNKS = 10_000_000
SLACK = 1 << 16  # bytes that a compressed chunk may be larger than its content
TEXT_LIMIT = 1 << 20  # bytes of .zarray
LARGEST = 1 << 40  # values along one axis


@attrs.frozen(kw_only=True)
class ChunkLayout:
    """What ``.zarray`` describes."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    codec: str  # empty if chunks are not compressed
    order: str
    separator: str
    fill: float | None

    @property
    def chunk_bytes(self) -> int:
        """The size of a decoded chunk."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def grid(self, first: int, last: int) -> list[range]:
        """Return the positions of the chunks with rows ``first`` to ``last`` - 1, by axis."""
        rows = range(first // self.chunks[0], -(-last // self.chunks[0]))
        rest = zip(self.shape[1:], self.chunks[1:], strict=True)
        return [rows, *(range(-(-n // c)) for n, c in rest)]

    def columns(self, at: tuple[int, ...]) -> tuple[slice, ...]:
        """Return the part of the axes after the first one that a chunk has."""
        axes = zip(at[1:], self.chunks[1:], self.shape[1:], strict=True)
        return tuple(slice(k * c, min(n, (k + 1) * c)) for k, c, n in axes)


@attrs.frozen(kw_only=True)
class ZarrArray:
    """Rows ``start`` to ``stop`` - 1 of an array."""

    store: Store
    key: str
    layout: ChunkLayout
    start: int
    stop: int
    encoded: bool = False

    @property
    def label(self) -> str:
        """The store and the key."""
        return f"{self.store.path}: {self.key}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of these rows."""
        return (self.stop - self.start, *self.layout.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored values."""
        return self.layout.dtype

    def rows(self, low: int, high: int) -> NDArray[Any]:
        """Return rows ``low`` to ``high`` - 1, each from the chunks that have it."""
        layout = self.layout
        first, last, length = self.start + low, self.start + high, layout.chunks[0]
        row = math.prod(layout.shape[1:]) * layout.dtype.itemsize
        check_memory(self.store.path, (high - low) * row + layout.chunk_bytes, self.key)
        out = np.empty((high - low, *layout.shape[1:]), layout.dtype)
        for at in itertools.product(*layout.grid(first, last)):
            chunk = _chunk(self.store, self.key, layout, at)
            # rows are relative to ``first`` in ``out``, and to the chunk's own first row in it
            top, end = max(first, at[0] * length), min(last, (at[0] + 1) * length)
            where = layout.columns(at)
            inner = tuple(slice(0, part.stop - part.start) for part in where)
            out[(slice(top - first, end - first), *where)] = chunk[
                (slice(top - at[0] * length, end - at[0] * length), *inner)
            ]
        return out


def read_layout(store: Store, key: str) -> ChunkLayout:
    """Return the layout of an array.

    Raises UserError if it is damaged, holds anything but numbers, or has an unknown codec.
    """
    place = f"{store.path}: {key}"
    data = store.read(f"{key}/.zarray", TEXT_LIMIT)
    if data is None:
        raise UserError(f"{place}: is missing; {AGAIN}")
    try:
        meta = parse_json(data)
        if not isinstance(meta, dict):
            raise ValueError("is no JSON object")
        return _layout(place, meta)
    except (ValueError, TypeError) as err:
        raise UserError(f"{place}: its .zarray {err}; {AGAIN}") from err


def _layout(place: str, meta: dict[str, Any]) -> ChunkLayout:
    shape, chunks = _sizes(meta.get("shape"), 0), _sizes(meta.get("chunks"), 1)
    if not shape or len(shape) != len(chunks) or meta.get("zarr_format") != 2:
        raise ValueError("has no shape with chunks of format 2")
    if math.prod(-(-n // c) for n, c in zip(shape, chunks, strict=True)) > MOST_CHUNKS:
        raise ValueError(f"has more than {MOST_CHUNKS} chunks")
    if meta.get("filters"):
        raise UserError(
            f"{place}: has filters {meta['filters']!r:.80}, which are not read; copy it with zarr"
            " without filters"
        )
    fill = meta.get("fill_value")
    order, separator = meta.get("order", "C"), meta.get("dimension_separator", ".")
    if order not in ("C", "F") or separator not in (".", "/"):
        raise ValueError(f"has the order {order!r:.80} and the separator {separator!r:.80}")
    return ChunkLayout(
        shape=shape,
        chunks=chunks,
        dtype=_dtype(place, meta.get("dtype")),
        codec=_codec(place, meta.get("compressor")),
        order=order,
        separator=separator,
        fill=float(fill) if isinstance(fill, int | float) else None,
    )


def _sizes(value: Any, least: int) -> tuple[int, ...]:
    valid = isinstance(value, list) and len(value) <= 8
    if not valid or not all(type(n) is int and least <= n <= LARGEST for n in value):
        raise ValueError(f"has the sizes {value!r:.80}")
    return tuple(value)


def _dtype(place: str, value: Any) -> np.dtype[Any]:
    dtype = np.dtype(value) if isinstance(value, str) else None
    if dtype is None or dtype.kind not in "fiub":
        raise UserError(
            f"{place}: has the type {value!r:.80}; only numbers are read, never Python objects"
        )
    return dtype


def _codec(place: str, value: Any) -> str:
    if value is None:
        return ""
    found = value.get("id") if isinstance(value, dict) else value
    if found not in CODECS:
        raise UserError(
            f"{place}: is compressed with {found!r:.80}, which is not read; copy it with zarr to"
            f" one of {', '.join(CODECS)}"
        )
    return str(found)


@lru_cache(maxsize=8)
def _chunk(store: Store, key: str, layout: ChunkLayout, at: tuple[int, ...]) -> NDArray[Any]:
    name = f"{key}/{layout.separator.join(map(str, at))}"
    check_memory(store.path, 2 * layout.chunk_bytes, name)
    data = store.read(name, layout.chunk_bytes * 2 + SLACK)
    if data is None:
        if layout.fill is None:
            raise UserError(f"{store.path}: {name}: is missing; {AGAIN}")
        return np.full(layout.chunks, layout.fill, layout.dtype)
    try:
        plain = _decoded(layout.codec, data, layout.chunk_bytes)
    except (ValueError, RuntimeError, zlib.error, struct.error) as err:
        raise UserError(f"{store.path}: {name}: cannot be decoded ({err}); {AGAIN}") from err
    return plain.view(layout.dtype).reshape(layout.chunks, order=layout.order)  # type: ignore[call-overload,no-any-return]


def _decoded(codec: str, data: bytes, size: int) -> NDArray[np.uint8]:
    """Return the content of a chunk, which must have ``size`` bytes."""
    if codec in ("gzip", "zlib"):
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # detects both headers
        found = np.frombuffer(unpacker.decompress(data, size + 1), np.uint8)
    elif codec:
        found = _fast(codec, data, size)
    else:
        found = np.frombuffer(data, np.uint8)
    if len(found) != size:
        raise ValueError(f"has {len(found)} bytes, expected {size}")
    return found


def _fast(codec: str, data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode into a buffer of the right size, after the sizes in the header are checked."""
    from numcodecs import blosc, lz4, zstd  # type: ignore[import-untyped]

    out = np.empty(size, np.uint8)
    if codec == "blosc":
        plain, _, packed = struct.unpack_from("<III", data, 4)
        if plain != size or packed != len(data):
            raise ValueError(f"its header declares {packed} bytes for {plain}")
        blosc.decompress(data, out)
    elif codec == "lz4":
        if struct.unpack_from("<I", data)[0] != size:
            raise ValueError("its header declares another size")
        lz4.decompress(data, out)
    else:
        zstd.decompress(data, out)
    return out
