"""Decode RoboTwin's JPEGs into the colours of its simulator.

Its older writer passed RGB to an encoder that expects BGR, so red and blue are swapped in the file.
Files written since September 2026 are true RGB and are marked by a comment segment.

Shapes: H W = pixels
"""

from __future__ import annotations

import attrs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

RGB_MARK = b"XPL-RGB1"  # content of the comment segment of true RGB files
LARGEST = 8192  # pixels per side
_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START, _END, _COMMENT, _SCAN = 0xD8, 0xD9, 0xFE, 0xDA


@attrs.frozen
class Header:
    """Image size and colour order."""

    height: int
    width: int
    true_rgb: bool


def header(data: bytes) -> Header:
    """Return size and colour order; raise ValueError if the data is not a complete JPEG."""
    if data[:2] != bytes((0xFF, _START)):
        raise ValueError("is not a JPEG" if data else "is empty")
    if data[-2:] != bytes((0xFF, _END)):
        raise ValueError("is truncated: it has no end marker")
    at, size, true_rgb = 2, None, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError(f"has no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SOF and length >= 8:
            size = (data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8])
        elif marker == _COMMENT:
            true_rgb |= data[at + 4 : at + 2 + length] == RGB_MARK
        elif marker == _SCAN:
            break
        at += 2 + max(length, 2)
    else:
        raise ValueError("has no image data")
    if size is None or not 0 < min(size) <= max(size) <= LARGEST:
        raise ValueError(f"has no size between 1 and {LARGEST} pixels")
    return Header(*size, true_rgb)


def decode(data: bytes, head: Header | None = None) -> NDArray[np.uint8]:
    """Return the image as uint8 RGB (H, W, 3); raise ValueError for damaged data."""
    head = head or header(data)
    space = "RGB" if head.true_rgb else "BGR"  # undoes the swap of the writer
    image_HW3: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, space)
    return image_HW3
