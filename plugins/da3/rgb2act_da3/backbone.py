"""The backbone that rgb2act uses: images in, tokens of chosen layers out; loading of weights.

Shapes: B = timesteps, K = context frames, V = cameras, H W = pixels, N = patches, C = channels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from rgb2act_core import UserError
from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.weights import (
    fitting,
    load_strict,
    locate_weights,
    named_tensors,
    read_checkpoint,
)

from .config import DA3, PATCH, VARIANTS, Sizes
from .model import CHOICE_FROM, Network
from .preprocess import prepare, target
from .weights import PREFIX, check_variant, convert, sizes_of

DTYPES: dict[Literal["float32", "bfloat16", "float16"], torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class DA3Backbone:
    """Frozen backbone that returns the tokens of the newest frame of a window."""

    def __init__(self, config: DA3, network: Network) -> None:
        sizes = network.sizes
        self.config, self.network = config, network.eval().requires_grad_(False)
        self.layers = config.blocks(sizes)
        self.device = torch.device("cpu")
        self.info = BackboneInfo(
            dim=sizes.channels * len(self.layers),
            context=config.context,
            description=_describe(config, sizes, self.layers),
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns; raise UserError for images smaller than one patch."""
        height, width = target(height, width, self.config)
        return height // PATCH, width // PATCH

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) of the newest of K frames."""
        image = (rgb_BKVHW3.shape[-3], rgb_BKVHW3.shape[-2])
        return self._windows(self._frames(rgb_BKVHW3, roles=False), image)

    @torch.no_grad()
    def encode_frames(self, rgb_BVHW3: Tensor) -> dict[str, Tensor]:
        """Return the features of single frames, as named tensors (B, V, ...).

        Stack the entries of K frames as (B, K, V, ...) and give them to ``encode_windows``.
        """
        return self._frames(rgb_BVHW3, roles=self.config.context > 1)

    @torch.no_grad()
    def encode_windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        """Return tokens (B, V, N, C) from features of K frames, each tensor (B, K, V, ...).

        ``image`` is the height and width of the frames. The tokens equal those of ``encode`` up to
        floating-point summation order.
        """
        return self._windows(parts, image)

    def to(self, device: torch.device) -> DA3Backbone:
        """Move the weights to a device."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def _frames(self, rgb_XHW3: Tensor, roles: bool) -> dict[str, Tensor]:
        """Return the features of frames with any leading dimensions."""
        front = rgb_XHW3.shape[:-3]
        images_F3HW = prepare(rgb_XHW3.to(self.device).flatten(0, -4), self.config)
        clue = self.config.reference.startswith("saddle") and self.config.context >= CHOICE_FROM
        parts = self.network.frames(images_F3HW, self.layers, roles, clue)
        return {name: part.unflatten(0, front) for name, part in parts.items()}

    def _windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        b, _, v = next(iter(parts.values())).shape[:3]
        in_rows = {name: part.transpose(1, 2).flatten(0, 1) for name, part in parts.items()}
        grid = self.grid(*image)
        found = self.network.windows(in_rows, grid, self.layers, self.config.reference)
        tokens_WNC = torch.cat([features_W1NC[:, 0] for features_W1NC in found], -1)
        return tokens_WNC.view(b, v, *tokens_WNC.shape[1:])


def _describe(config: DA3, sizes: Sizes, layers: Sequence[int]) -> str:
    kind = "last per-frame output beside normed output" if sizes.paired else "normed output"
    scale = {
        "upper_bound": f"longest side to {config.size}, then ",
        "lower_bound": f"shortest side to {config.size}, then ",
        "native": "",
    }[config.resize]
    return (
        f"Depth Anything 3 {config.variant}, block {', '.join(map(str, layers))} of 0 to"
        f" {sizes.depth - 1}, {kind}; window of {config.context}, newest frame, reference view"
        f" {config.reference}; {scale}sides to multiples of {PATCH}; {config.precision}"
    )


def load(config: DA3) -> DA3Backbone:
    """Return the backbone with official, local or random weights."""
    path = locate_weights(config.weights, config.official, "da3")
    network = draw(VARIANTS[config.variant]) if path is None else read_network(config, path)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(DTYPES[config.precision])
    return DA3Backbone(config, network)


def read_network(config: DA3, path: Path) -> Network:
    """Return the network with the weights of a file in float32."""
    with fitting(path):
        tensors = convert(named_tensors(read_checkpoint(path), (PREFIX,), path), str(path))
        sizes = sizes_of(tensors, str(path))
    check_variant(config, sizes, str(path))
    if config.variant == "file":
        try:
            config.check(sizes)
        except ValueError as err:
            raise UserError(f"da3.{err}") from None
    with torch.device("meta"):
        network = Network(VARIANTS.get(config.variant, sizes))
    load_strict(network, tensors, source=str(path), dtype=torch.float32)
    return network


def draw(sizes: Sizes) -> Network:
    """Return a network with random weights, the same for the same sizes."""
    with torch.device("meta"):
        network = Network(sizes)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            leaf = name.rpartition(".")[2]
            if "norm" in name or leaf.endswith("scale"):
                parameter.fill_(0.0 if leaf == "bias" else 1.0)
            else:
                parameter.normal_(0.0, 0.02, generator=generator)
    return network
