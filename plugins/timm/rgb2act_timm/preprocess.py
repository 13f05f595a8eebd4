"""Preprocessing by a model's own data configuration.

Shapes: F = images, H W = size of a frame in pixels, h w = size of the model's input
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

INTERPOLATIONS = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


def target(
    height: int,
    width: int,
    *,
    size: int | None,
    scale: float,
    multiple: int,
    trained: tuple[int, int],
) -> tuple[int, int]:
    """Return the height and width of the model's input.

    They are multiples of ``multiple``, unless they are those that the model was ``trained`` with.
    """
    wanted = (height * scale, width * scale) if size is None else (size, size)
    return (
        trained
        if wanted == trained
        else (nearest(wanted[0], multiple), nearest(wanted[1], multiple))
    )


def prepare(rgb_FHW3: Tensor, to: tuple[int, int], data: Any, crop: bool) -> Tensor:
    """Return normalised float32 images (F, 3, h, w) of uint8 frames.

    ``data`` is timm's ``PretrainedCfg`` of the model. Images are resized on uint8 with
    antialiasing, as PIL does it in timm's transform.
    """
    x_F3HW = rgb_FHW3.permute(0, 3, 1, 2)
    if crop:
        height, width = (max(1, round(side * data.crop_pct)) for side in x_F3HW.shape[2:])
        x_F3HW = functional.center_crop(x_F3HW, [height, width])
    if x_F3HW.shape[2:] != to:
        how = INTERPOLATIONS.get(data.interpolation, InterpolationMode.BICUBIC)
        x_F3HW = functional.resize(x_F3HW, list(to), interpolation=how, antialias=True)
    mean, std = (
        torch.tensor(values, device=x_F3HW.device).view(3, 1, 1) for values in (data.mean, data.std)
    )
    normal: Tensor = (x_F3HW.float() / 255 - mean) / std
    return normal


def nearest(side: float, multiple: int) -> int:
    """Return the multiple that is nearest to a side, at least one; the larger of two."""
    return max(1, int(side / multiple + 0.5)) * multiple
