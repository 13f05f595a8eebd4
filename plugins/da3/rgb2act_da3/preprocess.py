"""Preprocessing of Depth Anything 3.

OpenCV's INTER_AREA and INTER_CUBIC on uint8, as matrix products and torch's bicubic filter: equal
within one grey level, for batches and on any device.

Shapes: F = images, H W = pixels, h w = pixels of the result
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rgb2act_core import UserError

from .config import DA3, PATCH

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1
STD = (0.229, 0.224, 0.225)

Size = tuple[int, int]  # height, width


def prepare(rgb_FHW3: Tensor, config: DA3) -> Tensor:
    """Return normalised images (F, 3, h, w) float32 whose sides are multiples of 14."""
    grey_F3hw = resized(rgb_FHW3, config)
    mean = torch.tensor(MEAN, device=grey_F3hw.device).view(3, 1, 1)
    std = torch.tensor(STD, device=grey_F3hw.device).view(3, 1, 1)
    return (grey_F3hw / 255 - mean) / std


def resized(rgb_FHW3: Tensor, config: DA3) -> Tensor:
    """Return rounded pixel values (F, 3, h, w) as float32."""
    x_F3HW = rgb_FHW3.permute(0, 3, 1, 2).float()
    for size, grows in steps(rgb_FHW3.shape[1], rgb_FHW3.shape[2], config):
        x_F3HW = _cubic(x_F3HW, size) if grows else _area(x_F3HW, size)
    return x_F3HW


def target(height: int, width: int, config: DA3) -> Size:
    """Return height and width of the prepared image."""
    sizes = [size for size, _ in steps(height, width, config)]
    return sizes[-1] if sizes else (height, width)


def steps(height: int, width: int, config: DA3) -> list[tuple[Size, bool]]:
    """Return the successive sizes of an image, each with whether a side grows."""
    found = []
    bound = {"upper_bound": max, "lower_bound": min}.get(config.resize)
    size = (height, width)
    if bound is not None and bound(size) != config.size:
        scale = config.size / float(bound(size))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        found.append((size, scale > 1))
    nearest = (_nearest(size[0]), _nearest(size[1]))
    if min(nearest) == 0:
        raise UserError(
            f"da3: an image of {height}x{width} becomes {size[0]}x{size[1]}, less than one patch;"
            " give larger images, or set resize = 'lower_bound'"
        )
    if nearest != size:
        found.append((nearest, nearest[0] > size[0] or nearest[1] > size[1]))
    return found


def _nearest(side: int) -> int:
    """Return the nearest multiple of the patch size, or the larger of two equally near ones."""
    return (2 * side + PATCH) // (2 * PATCH) * PATCH


def _cubic(x_F3HW: Tensor, size: Size) -> Tensor:
    x_F3hw = functional.interpolate(x_F3HW, size=size, mode="bicubic", align_corners=False)
    return x_F3hw.round_().clamp_(0, 255)


def _area(x_F3HW: Tensor, size: Size) -> Tensor:
    rows_hH = _shares(x_F3HW.shape[2], size[0]).to(x_F3HW.device)
    columns_wW = _shares(x_F3HW.shape[3], size[1]).to(x_F3HW.device)
    return (rows_hH @ x_F3HW @ columns_wW.T).round_().clamp_(0, 255)


def _shares(before: int, after: int) -> Tensor:
    """Return the fraction of each output pixel that each input pixel covers (output, input); rows
    sum to 1."""
    edges = torch.arange(after + 1, dtype=torch.float64) * (before / after)
    pixels = torch.arange(before, dtype=torch.float64)
    left = torch.maximum(edges[:-1, None], pixels)
    right = torch.minimum(edges[1:, None], pixels + 1)
    overlap = (right - left).clamp_(min=0)
    return (overlap / overlap.sum(1, keepdim=True)).float()
