"""Images of recorded episodes.

Shapes: H W = pixels
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError

FORMATS = ("PNG", "JPEG")  # recognised by the content
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits per channel
LARGEST = 16384  # pixels per side
_PROBLEMS = (OSError, SyntaxError, EOFError, Image.DecompressionBombError)


def decode_image(data: bytes, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return a PNG or JPEG as uint8 RGB (H, W, 3).

    Raises ValueError if the data is damaged or the image has another size than ``size``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            found = (image.height, image.width)
            if size is not None and found != size:
                raise ValueError(f"has {found!r} pixels, the first frame {size!r}")
            if max(found) > LARGEST:
                raise ValueError(f"has {found!r} pixels; at most {LARGEST} per side are supported")
            if image.mode not in MODES:
                raise ValueError(f"has the mode {image.mode!r}, not 8 bits per channel")
            return np.asarray(image.convert("RGB"), np.uint8)
    except _PROBLEMS as err:
        raise ValueError(f"cannot be read as an image ({str(err)[:160]})") from err


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) of the given size, resampled if it has another one."""
    if image.shape[:2] == size:
        return image
    height, width = size
    resample = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((width, height), resample), np.uint8)


def cameras_of_one_size(sizes: Mapping[str, Collection[tuple[int, int]]]) -> tuple[str, ...]:
    """Return the cameras whose images all have the most frequent size, from the sizes of each."""
    found = Counter(size for of_camera in sizes.values() for size in of_camera)
    chosen = {size for size, _ in found.most_common(1)}
    return tuple(name for name, of_camera in sizes.items() if set(of_camera) == chosen)


def common_size(
    source: str, sizes: Mapping[str, tuple[int, int]], resize: tuple[int, int] | None
) -> tuple[int, int]:
    """Return the size of all images of an episode, from the sizes of its cameras.

    Raises UserError, which names the ``source``, if they differ and ``resize`` is None.
    """
    if resize is not None:
        return resize
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{name} {height}x{width}" for name, (height, width) in sizes.items())
        raise UserError(
            f"{source}: cameras have different sizes ({text}); choose [environment] cameras of one"
            " size, or set resize = [height, width]"
        )
    return next(iter(sizes.values()))
