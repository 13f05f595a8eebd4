"""Preprocessing of VGGT.

Shapes: F = images, H W = size of a frame in pixels, h w = size of the model's input
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from rgb2act_core import UserError

from .config import Vggt

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB; the official model normalises internally
STD = (0.229, 0.224, 0.225)
WHITE = 255.0
FIXED = 1 << 22  # fixed-point steps of Pillow's weights


def scaled(height: int, width: int, config: Vggt, patch: int) -> tuple[int, int]:
    """Return height and width after scaling, before a crop or padding."""
    size = config.size
    if config.resize == "native":
        to = (_nearest(height, patch), _nearest(width, patch))
    elif config.resize == "pad" and height > width:
        to = (size, round(width * (size / height) / patch) * patch)
    else:
        to = (round(height * (size / width) / patch) * patch, size)
    if min(to) < patch:
        raise UserError(
            f"vggt: an image of {height}x{width} becomes {to[0]}x{to[1]}, less than one patch;"
            " give larger images or set a larger size"
        )
    return to


def target(height: int, width: int, config: Vggt, patch: int) -> tuple[int, int]:
    """Return the height and width of the model's input."""
    h, w = scaled(height, width, config, patch)
    if config.resize == "pad":
        return config.size, config.size
    return (min(h, config.size), w) if config.resize == "crop" else (h, w)


def prepare(rgb_FHW3: Tensor, config: Vggt, patch: int) -> Tensor:
    """Return normalised float32 images (F, 3, h, w) of uint8 frames.

    Resized values equal those of Pillow's bicubic filter.
    """
    height, width = rgb_FHW3.shape[1:3]
    x_F3HW = rgb_FHW3.permute(0, 3, 1, 2).float()
    x_F3HW = _resize(x_F3HW, scaled(height, width, config, patch))
    h, w = target(height, width, config, patch)
    top, left = (h - x_F3HW.shape[2]) // 2, (w - x_F3HW.shape[3]) // 2
    if config.resize == "pad":
        bottom, right = h - x_F3HW.shape[2] - top, w - x_F3HW.shape[3] - left
        x_F3HW = functional.pad(x_F3HW, (left, right, top, bottom), value=WHITE)
    elif top:
        cut = (x_F3HW.shape[2] - h) // 2
        x_F3HW = x_F3HW[:, :, cut : cut + h]
    mean, std = (torch.tensor(v, device=x_F3HW.device).view(3, 1, 1) for v in (MEAN, STD))
    return (x_F3HW / 255 - mean) / std


def _nearest(side: int, patch: int) -> int:
    return max(1, int(side / patch + 0.5)) * patch


def _resize(x_F3HW: Tensor, to: tuple[int, int]) -> Tensor:
    """Resize along rows, then along columns, and round to integers in between, as Pillow does."""
    height, width = x_F3HW.shape[2:]
    x_F3HW = x_F3HW.double()
    if width != to[1]:
        x_F3HW = _levels(x_F3HW @ _shares(width, to[1]).to(x_F3HW.device).T)
    if height != to[0]:
        x_F3HW = _levels(_shares(height, to[0]).to(x_F3HW.device) @ x_F3HW)
    return x_F3HW.float()


def _levels(x_F3HW: Tensor) -> Tensor:
    return x_F3HW.add_(0.5).floor_().clamp_(0, 255)


@functools.lru_cache(maxsize=16)
def _shares(before: int, after: int) -> Tensor:
    """Return the weight of each input pixel in each output pixel, (output, input) float64.

    Bicubic (Keys, a = -0.5), widened for downscaling, rounded to Pillow's fixed-point steps.
    """
    scale = before / after
    wide = max(scale, 1.0)
    centres = (torch.arange(after, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(before, dtype=torch.float64)[None]
    low, high = ((centres + sign * 2 * wide + 0.5).trunc() for sign in (-1, 1))
    away = ((pixels + 0.5 - centres) / wide).abs()
    near = (1.5 * away - 2.5) * away.square() + 1
    far = -0.5 * (((away - 5) * away + 8) * away - 4)
    shares = torch.where(away < 1, near, torch.where(away < 2, far, 0.0))
    shares = shares * ((pixels >= low.clamp_min(0)) & (pixels < high))
    shares = shares / shares.sum(1, keepdim=True)
    return (shares * FIXED + shares.sign() * 0.5).trunc() / FIXED
