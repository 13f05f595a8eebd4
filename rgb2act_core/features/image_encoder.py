"""Encode your own images or videos with an installed backbone.

    encoder = backbone("dinov3", variant="vits16")
    tokens_BNC = encoder.encode(images_BHW3)
    rows, columns = encoder.grid(height, width)

Shapes: B = images, T = frames of a video, H W = pixels, N = patches (row by row over the grid),
C = channels
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError
from ..interfaces import Backbone
from ..plugins import registry
from ..plugins.components import Capability, Kind
from ..spec import Compute
from ..spec.reader import structure
from ..system.devices import device_of
from .encoder import Encoder, Stream


def backbone(name: str, *, device: str = "auto", **config: Any) -> ImageEncoder:
    """Build an installed backbone that encodes images.

    ``name`` and ``config`` are what a spec's ``[[backbone]]`` table contains: ``use`` and the
    other keys. ``device`` is ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``. Weights that are
    not cached are downloaded. Raises UserError if there is no such backbone or the config is
    invalid.
    """
    component = registry.find(Kind.BACKBONE, name)
    try:
        built = component.build(structure(component.config, config))
    except UserError as err:
        raise UserError(*(f"backbone {name}: {problem}" for problem in err.args)) from err
    torch_device = device_of(Compute(device=device).device)
    windowed = Capability.WINDOWED in component.capabilities
    return ImageEncoder(built.to(torch.device(torch_device)), torch_device, windowed)


class ImageEncoder:
    """A frozen backbone that encodes RGB images.

    Its tokens equal those that ``rgb2act extract`` stores with the default ``[extract]`` table:
    they are rounded to float16 and returned as float32.
    """

    def __init__(self, model: Backbone, device: str, windowed: bool = False) -> None:
        self.model = model
        """The backbone as its plugin built it."""
        self._encoder = Encoder(model, device, windowed=windowed)

    @property
    def dim(self) -> int:
        """Return the number of channels C of a token."""
        return self.model.info.dim

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid for images of that size."""
        return self.model.grid(height, width)

    def encode(self, images: NDArray[np.uint8], batch_size: int = 8) -> Tensor:
        """Return the tokens (B, N, C) float32 of images (B, H, W, 3) uint8, in RGB order.

        Images are independent: a backbone with temporal context sees each as the first frame of
        a video.
        """
        _check(images)
        return self._join(
            [Stream(self._encoder).tokens(image[None, None]) for image in images]
            if self._encoder.context > 1
            else [
                Stream(self._encoder).tokens(images[i : i + batch_size, None])
                for i in range(0, len(images), batch_size)
            ]
        )

    def encode_video(self, frames: NDArray[np.uint8], batch_size: int = 8) -> Tensor:
        """Return the tokens (T, N, C) float32 of the frames (T, H, W, 3) uint8 of one video.

        A backbone with temporal context also sees the frames before each; the first frame is
        repeated to fill the window at the start.
        """
        _check(frames)
        stream = Stream(self._encoder)
        return self._join(
            [
                stream.tokens(frames[i : i + batch_size, None])
                for i in range(0, len(frames), batch_size)
            ]
        )

    def _join(self, tokens_B1NC: list[Tensor]) -> Tensor:
        return torch.cat(tokens_B1NC)[:, 0].float()


def _check(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(f"expected uint8 images (B, H, W, 3), got {images.dtype} {images.shape}")
