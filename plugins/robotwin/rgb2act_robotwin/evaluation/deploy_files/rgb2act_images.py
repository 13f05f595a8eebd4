"""Compression of images as in RoboTwin's recordings, which the policy was trained on.

Written by ``rgb2act deploy-robotwin``.

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
    order = -1 if colours == "bgr" else 1
    return np.stack([_through(image[..., ::order])[..., ::order] for image in images])


def _through(image: Any) -> Any:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(
        data, "JPEG", quality=QUALITY, subsampling=HALF_CHROMA
    )
    return np.asarray(Image.open(data))
