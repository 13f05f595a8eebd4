"""Encode frames with a backbone: the one code path of extraction, control and verify.

Shapes: B = frames, F = frames whose parts are at hand, K = context, V = cameras, H W = pixels,
N = patches, C = channels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.windows import window_index
from ..errors import UserError
from ..interfaces import Backbone, WindowedBackbone
from ..spec import BackboneChoice, Tokens
from .token_codec import decode_tokens, encode_tokens

Parts = Mapping[str, Tensor]  # what frames are by themselves, each entry with frames in front


class Encoder:
    """Encode with one backbone in two steps: each frame by itself, then windows of frames.

    A backbone that is not a ``WindowedBackbone`` does all its work in the second: a frame's part is
    the frame. With a context of 1 it does all its work in one ``encode`` as well.
    """

    def __init__(
        self, backbone: Backbone, device: str, form: Tokens | None = None, name: str = ""
    ) -> None:
        self.backbone, self.device, self.context = backbone, device, backbone.info.context
        self.form, self.name = form or Tokens(), name
        split = self.context > 1 and isinstance(backbone, WindowedBackbone)
        self.windowed: WindowedBackbone | None = backbone if split else None  # type: ignore[assignment]

    def frames(self, rgb_FVHW3: NDArray[np.uint8]) -> Parts:
        """Return the parts of frames, on the device."""
        rgb = torch.from_numpy(np.require(rgb_FVHW3, requirements=["C", "W"]))  # or else a copy
        with torch.inference_mode():
            rgb = rgb.to(self.device)
            return {"rgb": rgb} if self.windowed is None else self.windowed.encode_frames(rgb)

    def windows(
        self, parts_F: Parts, index_BK: NDArray[np.int64], image: tuple[int, int]
    ) -> Tensor:
        """Return tokens (B, V, N, C) float16 on the device of the newest frame of each window.

        They are what a reader makes of the stored ones. ``index_BK`` names the frames of each
        window by their place in ``parts_F``, oldest first.
        """
        return decode_tokens(self.form, self.packed(parts_F, index_BK, image))

    def packed(self, parts_F: Parts, index_BK: NDArray[np.int64], image: tuple[int, int]) -> Tensor:
        """Return the same tokens as they are stored, see ``compact.pack``."""
        at_BK = torch.from_numpy(index_BK).to(self.device)
        with torch.inference_mode():
            parts_BK = {name: part[at_BK] for name, part in parts_F.items()}
            if self.windowed is None:
                tokens_BVNC = self.backbone.encode(parts_BK["rgb"])
            else:
                tokens_BVNC = self.windowed.encode_windows(parts_BK, image)
            if self.form == Tokens():
                return tokens_BVNC.half()
            check_grid(self.backbone, image, tokens_BVNC, self.name)
            return encode_tokens(self.form, tokens_BVNC, self.backbone.grid(*image))


class Stream:
    """Encode an episode's frames in order, each once: what windows reach back to is kept."""

    def __init__(self, encoder: Encoder, packed: bool = False) -> None:
        self.encoder, self.packed = encoder, packed
        self.kept: Parts = {}  # of the newest K - 1 frames
        self.count = 0  # frames seen

    def push(self, rgb_BVHW3: NDArray[np.uint8]) -> Tensor:
        """Return tokens (B, V, N, C) float16 of the next frames, or packed ones if so asked.

        If it raises, nothing was seen.
        """
        parts = self.encoder.frames(rgb_BVHW3)
        context, new = self.encoder.context, len(rgb_BVHW3)
        with torch.inference_mode():
            if self.kept:
                parts = {name: torch.cat([self.kept[name], part]) for name, part in parts.items()}
            have = len(next(iter(parts.values())))
            numbers = np.arange(self.count, self.count + new)
            index_BK = window_index(numbers, context) - (self.count + new - have)
            encode = self.encoder.packed if self.packed else self.encoder.windows
            tokens = encode(parts, index_BK, rgb_BVHW3.shape[2:4])
            if context > 1:  # copies, or the whole batch would be kept
                self.kept = {name: part[1 - context :].clone() for name, part in parts.items()}
        self.count += new
        return tokens


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
