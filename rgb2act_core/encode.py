"""Encode frames with a backbone: the one code path of extraction, control and verify.

Shapes: B = frames, K = context, V = cameras, H W = pixels, N = patches, C = channels
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import UserError
from .records import Backbone, Frames
from .spec import BackboneChoice
from .windows import window_index


def encode(backbone: Backbone, rgb_BKVHW3: NDArray[np.uint8], device: str) -> Tensor:
    """Return tokens (B, V, N, C) float16 on ``device`` of the newest of each window's frames."""
    with torch.inference_mode():
        frames = torch.from_numpy(np.array(rgb_BKVHW3)).to(device)  # torch wants writable memory
        return backbone.encode(frames).half()


def windows_of(frames: Frames, first: int, last: int, context: int) -> NDArray[np.uint8]:
    """Return the windows (B, K, V, H, W, 3) that end at frames ``first`` to ``last - 1``."""
    start = max(first - context + 1, 0)
    part = np.asarray(frames[start:last])
    if context == 1:
        return part[:, None]
    return part[window_index(np.arange(first, last), context) - start]


def build_backbones(choices: Sequence[BackboneChoice], device: str) -> list[Backbone]:
    """Build the chosen backbones and move them to the device."""
    return [choice.build().to(torch.device(device)) for choice in choices]


def check_grid(backbone: Backbone, image: tuple[int, int], tokens: Tensor, name: str) -> None:
    """Raise UserError when a backbone's tokens are not what it says they are."""
    rows, columns = backbone.grid(*image)
    if tokens.shape[2:] != (rows * columns, backbone.info.dim):
        raise UserError(
            f"backbone {name}: tokens have shape {tuple(tokens.shape[2:])}, its grid and width say"
            f" {(rows * columns, backbone.info.dim)}; mend the plugin (rgb2act selftest {name})"
        )
