"""What a vision backbone implements.

Shapes: H W = image height and width in pixels, B = batch, K = context frames, V = cameras,
N = patches, in row-major order of the token grid, C = channels
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
    """Properties of a built backbone."""

    dim: int
    """Channels C of a token."""
    context: int = 1
    """Frames K that a token depends on: the newest frame and those before it."""
    description: str = ""
    """Layer and preprocessing, stored with the features."""


class Backbone(Protocol):
    """A frozen model that turns RGB frames into patch tokens."""

    info: BackboneInfo

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid for images of that size.

        Raises UserError if the backbone does not take images of that size.
        """

    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return the tokens of the newest of K frames.

        ``rgb_BKVHW3`` is uint8 in RGB order, with the oldest frame first. Tokens are float32
        (B, V, N, C) without a gradient, and within the range of float16, in which they are stored.
        The same config must give the same tokens for an image, whatever else is in the batch.
        """

    def to(self, device: torch.device) -> Backbone:
        """Move the weights to a device and return the backbone."""


@runtime_checkable
class WindowedBackbone(Protocol):
    """A ``Backbone`` with context > 1 that can also encode in two steps.

    The first step encodes each frame once, the second combines the frames of a window. Both steps
    together must equal ``encode`` up to floating-point summation order. Declared by
    ``Capability.WINDOWED``.
    """

    def encode_frames(self, rgb_BVHW3: Tensor) -> Mapping[str, Tensor]:
        """Return the features of single uint8 frames, as named tensors (B, V, ...)."""

    def encode_windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        """Return tokens as ``encode`` does, from the features of K frames.

        Each tensor in ``parts`` is (B, K, V, ...), with the oldest frame first. ``image`` is the
        height and width of the frames.
        """
