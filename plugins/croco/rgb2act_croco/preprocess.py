"""Preprocessing of CroCo.

Shapes: F = images, H W = size of a frame in pixels, h w = size of the model's input
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB
STD = (0.229, 0.224, 0.225)
HALF = 0.5 + 1e-4  # Pillow rounds ties up, and float32 sums can be slightly below them


def target(height: int, width: int, rule: str, size: int, patch: int) -> tuple[int, int]:
    """Return the height and width of the model's input."""
    if rule != "native":
        return size, size
    return _whole(height, patch), _whole(width, patch)


def prepare(rgb_FHW3: Tensor, rule: str, size: int, patch: int) -> Tensor:
    """Return normalised float32 images (F, 3, h, w) of uint8 frames.

    Resized values are grey levels again, as those of an image library are: within one of what
    Pillow's bilinear filter gives.
    """
    height, width = rgb_FHW3.shape[1:3]
    h, w = target(height, width, rule, size, patch)
    x_F3HW = rgb_FHW3.permute(0, 3, 1, 2).float()
    if rule == "crop":
        x_F3HW = _middle(_resize(x_F3HW, _shorter_to(height, width, size)), h, w)
    else:
        x_F3HW = _resize(x_F3HW, (h, w))
    mean, std = (torch.tensor(v, device=x_F3HW.device).view(3, 1, 1) for v in (MEAN, STD))
    return (x_F3HW / 255 - mean) / std


def _whole(side: int, patch: int) -> int:
    return max(1, int(side / patch + 0.5)) * patch


def _shorter_to(height: int, width: int, size: int) -> tuple[int, int]:
    shorter = min(height, width)
    return size * height // shorter, size * width // shorter


def _resize(x_F3HW: Tensor, to: tuple[int, int]) -> Tensor:
    """Resize along rows, then along columns, and round to integers in between, as Pillow does."""
    for size in ((x_F3HW.shape[2], to[1]), to):
        if x_F3HW.shape[2:] != size:
            x_F3HW = functional.interpolate(x_F3HW, size, mode="bilinear", antialias=True)
            x_F3HW = x_F3HW.add_(HALF).floor_().clamp_(0, 255)
    return x_F3HW


def _middle(x_F3HW: Tensor, h: int, w: int) -> Tensor:
    top, left = (x_F3HW.shape[2] - h) // 2, (x_F3HW.shape[3] - w) // 2
    return x_F3HW[:, :, top : top + h, left : left + w]
