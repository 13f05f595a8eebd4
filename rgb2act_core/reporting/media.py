"""Images and videos as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(image_HW3: NDArray[np.uint8]) -> str:
    """Return an image (H, W, 3) uint8 as a PNG data URI."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HW3)).save(data, "PNG")
    return data_uri("image/png", data.getvalue())


def data_uri(media_type: str, data: bytes) -> str:
    """Return bytes as a data URI of a media type."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
