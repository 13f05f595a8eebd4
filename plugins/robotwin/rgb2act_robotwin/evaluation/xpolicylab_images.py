"""Images of XPolicyLab's observations: arrays, or JPEGs from some clients.

Shapes: V = cameras, H W = pixels
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError

from ..config import Colours
from ..recorded import jpeg
from .deploy_files.rgb2act_images import as_recorded
from .deploy_files.xpolicylab import rgb2act_xpolicylab


def read_images(
    observation: dict[str, Any], cameras: tuple[str, ...], size: tuple[int, int], colours: Colours
) -> NDArray[Any]:
    """Return the images (V, H, W, 3) of an observation.

    Arrays pass through the compression of the recordings, ``colours``. ``size`` is the height and
    width that the policy expects: a JPEG of another size is refused before it is decoded. Raises
    UserError or ValueError if an image is missing or invalid.
    """
    colors = rgb2act_xpolicylab.images(observation, cameras)
    views = [
        _image(camera, color, size, colours) for camera, color in zip(cameras, colors, strict=True)
    ]
    if len({view.shape for view in views}) > 1:
        raise UserError(
            f"observation: images have shapes {[view.shape for view in views]}; all cameras need"
            " the same size"
        )
    return np.stack(views)


def _image(camera: str, color: Any, size: tuple[int, int], colours: Colours) -> NDArray[Any]:
    if isinstance(color, np.ndarray) and color.dtype == np.uint8 and color.ndim == 1:
        color = color.tobytes()
    if isinstance(color, np.ndarray):
        valid = color.dtype == np.uint8 and color.shape == (*size, 3)
        return as_recorded(color[None], colours)[0] if valid else color  # refused by the session
    if not isinstance(color, bytes | memoryview):
        raise UserError(f"color: expected an array or a JPEG, got {type(color).__name__}")
    data = bytes(color)
    head = jpeg.header(data)
    if (head.height, head.width) != size:
        raise UserError(
            f"observation: the JPEG of {camera!r} has {head.height}x{head.width} pixels; send"
            f" {size[0]}x{size[1]}"
        )
    return jpeg.decode(data, head)
