"""File format of the store's arrays: zarr.json, chunk index, names, digests.

An array of frames is one zarr v3 shard with one inner chunk per frame. Any zarr reader can open
it. Uncompressed, it is a flat file with the chunk index at the end. See docs/store.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import attrs
import google_crc32c
import numpy as np

from .files import json_digest

CODECS = ("none", "zstd")
DTYPES = ("bool", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)))
DTYPES += ("float16", "float32", "float64")
LEVEL = 3  # of zstd
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_ZSTD = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]{0,99}(/[A-Za-z0-9_][\w.\-]{0,99}){0,3}", re.ASCII)


@attrs.frozen(kw_only=True)
class Layout:
    """Shape, dtype and file layout of one array."""

    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]
    framed: bool  # a shard with one inner chunk per frame, else one plain chunk
    codec: str

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Return the shape of one chunk."""
        return self.shape[1:] if self.framed else self.shape

    @property
    def nbytes(self) -> int:
        """Return the size of one decoded chunk in bytes."""
        return math.prod(self.frame_shape) * np.dtype(self.dtype).itemsize

    @property
    def chunks(self) -> int:
        """Return the number of stored chunks: 0 for an array without elements."""
        if not math.prod(self.shape):
            return 0
        return self.shape[0] if self.framed else 1

    @property
    def file(self) -> str:
        """Return the name of the data file."""
        return ".".join(["c", *("0" for _ in self.shape)])

    def metadata(self) -> dict[str, Any]:
        """Return the content of zarr.json, without attributes."""
        chunk = [max(1, n) for n in self.shape]  # zarr does not allow chunks of length 0
        codecs = [_LITTLE, *([_ZSTD] if self.codec == "zstd" else [])]
        if self.framed:
            inner = {"chunk_shape": [1, *chunk[1:]], "codecs": codecs, "index_location": "end"}
            inner["index_codecs"] = [_LITTLE, {"name": "crc32c"}]
            codecs = [{"name": "sharding_indexed", "configuration": inner}]
        kind = np.dtype(self.dtype).kind
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": {"b": False, "f": 0.0}.get(kind, 0),
            "codecs": codecs,
            **({"dimension_names": list(self.dims)} if self.dims else {}),
        }


def parse(meta: dict[str, Any]) -> Layout | None:
    """Return the layout described by a zarr.json, or None if this store can't have written it."""
    shape, dtype, dims = meta.get("shape"), meta.get("data_type"), meta.get("dimension_names", [])
    if not (isinstance(shape, list) and isinstance(dims, list) and dtype in DTYPES):
        return None
    if len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        return None
    if not all(isinstance(d, str) for d in dims) or len(dims) not in (0, len(shape)):
        return None
    plain = {key: value for key, value in meta.items() if key != "attributes"}
    for framed in (True, False) if shape else (False,):
        for codec in CODECS:
            layout = Layout(
                shape=tuple(shape), dtype=dtype, dims=tuple(dims), framed=framed, codec=codec
            )
            if layout.metadata() == plain:
                return layout
    return None


def index(sizes: Sequence[int]) -> bytes:
    """Return a shard's index (offset and length of each chunk) followed by its crc32c."""
    table = np.empty((len(sizes), 2), "<u8")
    table[:, 1] = sizes
    table[:, 0] = np.cumsum(table[:, 1]) - table[:, 1]
    raw = table.tobytes()
    crc: int = google_crc32c.value(raw)
    return raw + crc.to_bytes(4, "little")


def good_name(name: str) -> bool:
    """Return whether an array name is valid; valid names never point outside the group."""
    return bool(_NAME.fullmatch(name)) and "zarr.json" not in name.split("/")


def array_digest(shape: tuple[int, ...], dtype: str, dims: tuple[str, ...], data: str) -> str:
    """Return the digest of an array; ``data`` is the BLAKE2b of its little-endian C-order bytes."""
    return json_digest([list(shape), dtype, list(dims), data])
