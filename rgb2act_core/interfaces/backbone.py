"""What a vision backbone implements.

Shapes: H W = pixels, B = batch, K = context frames, V = cameras,
N = patches (row by row over the grid), C = channels
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(kw_only=True)
class BackboneInfo:
    """Say what a built backbone yields."""

    dim: int  # C
    context: int = 1  # K, frames a feature looks back on, itself included
    description: str = ""  # layer, preprocessing: kept with the features


class Backbone(Protocol):
    """Turn RGB frames into patch tokens; frozen."""

    info: BackboneInfo

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the token grid for images of that size."""

    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest of K uint8 frames, oldest first."""

    def to(self, device: torch.device) -> Backbone:
        """Move the weights."""


@runtime_checkable
class WindowedBackbone(Protocol):
    """Encode in two steps: what a ``Backbone`` with context > 1 may offer besides ``encode``.

    What a frame is by itself is then computed once, not in every window that the frame is in.
    Both steps together give what ``encode`` gives, but for the order of sums.
    """

    def encode_frames(self, rgb_BVHW3: Tensor) -> Mapping[str, Tensor]:
        """Return what uint8 frames give to every window they are in, each entry (B, V, ...)."""

    def encode_windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        """Return tokens as ``encode`` does, from entries (B, K, V, ...) of K frames, oldest first.

        ``image`` is height and width of the frames.
        """
