"""Check that an observation has the policy's cameras, image size and joints.

Shapes: k = observations, V = cameras, H W = pixels, A = all action dimensions of the environment
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .config import PolicyConfig


def check_observation(
    config: PolicyConfig, rgb_kVHW3: NDArray[Any], joints_kA: NDArray[Any]
) -> None:
    """Raise UserError unless the observations have the policy's cameras, image size and joints."""
    if problem := _image_problem(config, rgb_kVHW3):
        cameras, (height, width) = config.cameras, config.image
        raise UserError(
            f"observe: {problem}; send uint8 RGB images of {_cameras(len(cameras))}"
            f" ({', '.join(cameras)}) at {height}x{width}, in an array of shape"
            f" {(len(cameras), height, width, 3)}"
        )
    names = config.action_names
    if joints_kA.ndim != 2 or joints_kA.shape[1] != len(names) or joints_kA.dtype != np.float32:
        raise UserError(
            f"observe: joints are {joints_kA.dtype} of shape {joints_kA.shape[1:]}; send float32"
            f" of shape ({len(names)},): {', '.join(names)}"
        )
    if len(joints_kA) != len(rgb_kVHW3):
        raise UserError(
            f"observe: images of {len(rgb_kVHW3)} steps and joints of {len(joints_kA)}; send both"
            " for each step"
        )
    if not np.isfinite(joints_kA).all():
        raise UserError("observe: joints contain NaN or infinity; check the robot or simulator")


def _image_problem(config: PolicyConfig, rgb_kVHW3: NDArray[Any]) -> str | None:
    """Return what is wrong with images, or None."""
    shape = rgb_kVHW3.shape[1:]
    expected = (len(config.cameras), *config.image, 3)
    if rgb_kVHW3.ndim and not len(rgb_kVHW3):
        return "there are no images"
    if rgb_kVHW3.dtype != np.uint8:
        return f"images are {rgb_kVHW3.dtype} instead of uint8 from 0 to 255"
    if shape == expected:
        return None
    if len(shape) == 3:
        return f"images have shape {shape}, without a dimension for the cameras"
    if len(shape) != 4:
        return f"images have shape {shape}"
    if shape[3] != 3 and shape[1] == 3:
        return f"images have shape {shape}, with the colours before height and width"
    if shape[3] != 3:
        return f"images have shape {shape}, with {shape[3]} colour channels instead of 3"
    return f"images are of {_cameras(shape[0])} at {shape[1]}x{shape[2]}"


def _cameras(count: int) -> str:
    return f"{count} camera{'' if count == 1 else 's'}"
