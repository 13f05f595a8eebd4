"""Compression of images as in RoboTwin's recordings, which policies are trained on.

``rgb2act deploy-robotwin`` copies this file next to a policy module.

Shapes: V = cameras, H W = pixels
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

QUALITY, HALF_CHROMA = 95, 2  # OpenCV's defaults, which RoboTwin uses


def checked(colours: Any) -> str:
    """Return the compression, ``bgr`` if it is None; raise ValueError if it is unknown."""
    if colours not in (None, "bgr", "rgb", "none"):
        raise ValueError(f"jpeg: {colours!r} is unknown; set it to bgr, rgb or none")
    return colours or "bgr"


def as_recorded(images: Any, colours: str) -> Any:
    """Return uint8 RGB images (V, H, W, 3) after the compression of recorded ones.

    ``colours`` is ``bgr`` if the recordings have red and blue swapped, ``rgb``, or ``none`` for
    uncompressed ones. Other arrays are returned unchanged; the server refuses them.
    """
    images = np.asarray(images)
    valid = images.dtype == np.uint8 and images.ndim == 4 and images.shape[-1] == 3
    if colours == "none" or not valid:
        return images
    return np.stack([_through(image, colours) for image in images])


def encode(image: Any, colours: str = "bgr") -> bytes:
    """Return a uint8 RGB image (H, W, 3) as RoboTwin stores it: the bytes are those of OpenCV.

    Its older writer swaps red and blue (``bgr``). True RGB (``rgb``) gets no mark.
    """
    data = io.BytesIO()
    Image.fromarray(_ordered(image, colours)).save(
        data, "JPEG", quality=QUALITY, subsampling=HALF_CHROMA
    )
    return data.getvalue()


def _through(image: Any, colours: str) -> Any:
    decoded = np.asarray(Image.open(io.BytesIO(encode(image, colours))))
    return _ordered(decoded, colours)


def _ordered(image: Any, colours: str) -> Any:
    return np.ascontiguousarray(image[..., ::-1] if colours == "bgr" else image)
