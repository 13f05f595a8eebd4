"""Decompress LZF, the compression of binary_compressed PCD files.

The data is a sequence of literal runs (a control byte below 32, then that many bytes and one more)
and references (a length and a distance to bytes that were already written).
"""

from __future__ import annotations

LARGEST_RATIO = 90  # three bytes stand for at most 264


def decompress(data: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that the data decompresses to; raise ValueError if it does not."""
    out, at = bytearray(), 0
    while at < len(data) and len(out) <= size:
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = (control >> 5) + 2
        if length == 9:
            length += data[at] if at < len(data) else 0
            at += 1
        if at >= len(data):
            raise ValueError("the compressed data is truncated")
        start = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        if start < 0:
            raise ValueError("the compressed data refers to bytes before its start")
        part = out[start : start + length]
        out += (part * (length // len(part) + 1))[:length]  # a reference may overlap its own output
    if len(out) != size or at > len(data):
        raise ValueError(f"the compressed data has {len(out)} bytes instead of {size}")
    return bytes(out)
