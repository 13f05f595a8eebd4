"""Preprocessing of DINOv3.

Shapes: F = images, H W = size of a frame in pixels, h w = size of the model's input
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

MEANS = {"lvd1689m": (0.485, 0.456, 0.406), "sat493m": (0.430, 0.411, 0.296)}  # RGB
STDS = {"lvd1689m": (0.229, 0.224, 0.225), "sat493m": (0.213, 0.156, 0.143)}


def target(height: int, width: int, rule: str, size: int, patch: int) -> tuple[int, int]:
    """Return the height and width of the model's input."""
    if rule == "native":
        return _whole(height, patch), _whole(width, patch)
    return size, size


def prepare(rgb_FHW3: Tensor, to: tuple[int, int], pretraining: str) -> Tensor:
    """Return normalised float32 images (F, 3, h, w) of uint8 frames.

    Bilinear with antialiasing on uint8, with the library of the official transform.
    """
    x_F3HW = rgb_FHW3.permute(0, 3, 1, 2)
    if x_F3HW.shape[2:] != to:
        x_F3HW = functional.resize(x_F3HW, list(to), antialias=True)
    mean, std = (
        torch.tensor(v[pretraining], device=x_F3HW.device).view(3, 1, 1) for v in (MEANS, STDS)
    )
    normal: Tensor = (x_F3HW.float() / 255 - mean) / std
    return normal


def _whole(side: int, patch: int) -> int:
    return max(1, int(side / patch + 0.5)) * patch
