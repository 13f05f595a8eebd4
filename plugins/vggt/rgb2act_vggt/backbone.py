"""The backbone that rgb2act uses: images in, tokens of chosen layers out; loading of weights.

Shapes: B = timesteps, K = context frames, V = cameras, H W = pixels, N = patches, C = channels
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

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

from .config import Sizes, Vggt
from .model import Network, Turn, turns
from .preprocess import prepare, target
from .weights import PREFIX, convert, sizes_of


class VggtBackbone:
    """Frozen backbone that returns the tokens of the newest frame of a window."""

    def __init__(self, network: Network, config: Vggt) -> None:
        sizes = network.sizes
        self.config, self.network = config, network.eval().requires_grad_(False)
        self.layers = config.layers or (sizes.depth - 1,)
        self.device = torch.device("cpu")
        self.info = BackboneInfo(
            dim=2 * sizes.dim * len(self.layers),
            context=config.context,
            description=f"VGGT aggregator, pair {', '.join(map(str, self.layers))} of"
            f" {sizes.depth}, frame beside global block; window of {config.context}, newest frame,"
            f" the oldest is first; {config.resize} {config.size}, bicubic; {config.precision}",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns; raise UserError for images smaller than one patch."""
        patch = self.network.sizes.patch
        h, w = target(height, width, self.config, patch)
        return h // patch, w // patch

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest of K frames."""
        patches_BKVNC = self._described(rgb_BKVHW3)
        turn = self._turn((rgb_BKVHW3.shape[3], rgb_BKVHW3.shape[4]))
        others = None
        if rgb_BKVHW3.shape[1] > 1:
            rest_BKVNC = patches_BKVNC[:, 1:]
            others = self.network.begin(rest_BKVNC.flatten(0, 2), 1, turn)
            others = others.unflatten(0, rest_BKVNC.shape[:3])
        return self._windows(patches_BKVNC[:, 0], others, turn)

    @torch.no_grad()
    def encode_frames(self, rgb_BVHW3: Tensor) -> dict[str, Tensor]:
        """Return the features of single frames, as named tensors (B, V, ...).

        Stack the entries of K frames as (B, K, V, ...) and give them to ``encode_windows``.
        """
        patches_BVNC = self._described(rgb_BVHW3)
        if self.config.context == 1:
            return {"patches": patches_BVNC}
        turn = self._turn((rgb_BVHW3.shape[2], rgb_BVHW3.shape[3]))
        other_FMC = self.network.begin(patches_BVNC.flatten(0, 1), 1, turn)
        return {
            "patches": patches_BVNC,
            "other": other_FMC.unflatten(0, patches_BVNC.shape[:2]),
        }

    @torch.no_grad()
    def encode_windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        """Return tokens (B, V, N, C) from features of K frames, each tensor (B, K, V, ...).

        ``image`` is the height and width of the frames. The tokens equal those of ``encode`` up to
        floating-point summation order.
        """
        several = parts["patches"].shape[1] > 1
        others = parts["other"][:, 1:] if several else None
        return self._windows(parts["patches"][:, 0], others, self._turn(image))

    def to(self, device: torch.device) -> VggtBackbone:
        """Move the weights to a device."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    def _described(self, rgb_XHW3: Tensor) -> Tensor:
        rgb_FHW3 = rgb_XHW3.to(self.device).flatten(0, -4)
        images_F3HW = prepare(rgb_FHW3, self.config, self.network.sizes.patch)
        patches_XNC: Tensor = self.network.describe(images_F3HW).unflatten(0, rgb_XHW3.shape[:-3])
        return patches_XNC

    def _turn(self, image: tuple[int, int]) -> Turn:
        return turns(self.grid(*image), self.network.sizes, self.device)

    def _windows(self, oldest_BVNC: Tensor, others: Tensor | None, turn: Turn) -> Tensor:
        """Return tokens from the features of the oldest frame and of the others (B, K - 1, V,
        ...)."""
        first_WMC = self.network.begin(oldest_BVNC.flatten(0, 1), 0, turn)
        if others is not None:
            others = others.transpose(1, 2).flatten(0, 1)
        tokens_WNC = self.network.windows(first_WMC, others, self.layers, turn)
        tokens_BVNC: Tensor = tokens_WNC.unflatten(0, oldest_BVNC.shape[:2])
        return tokens_BVNC


def load(config: Vggt) -> VggtBackbone:
    """Return the backbone with official, local or random weights."""
    path = locate_weights(config.weights, config.official, "vggt")
    if path is None:
        network = _random(config.sizes)
    else:
        with fitting(path):
            held = named_tensors(read_checkpoint(path), (PREFIX,), path)
            tensors = convert(held, str(path))
            sizes = sizes_of(tensors, str(path))
        if sizes.heads < 1 or sizes.dim % (4 * sizes.heads):
            raise UserError(
                f"{path}: {sizes.dim} channels are not divisible by 4 x {sizes.heads} heads; give"
                " another file"
            )
        network = _empty(sizes)
        load_strict(network, tensors, source=str(path), dtype=torch.float32)
    _check(network.sizes, config)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(getattr(torch, config.precision))
    return VggtBackbone(network, config)


def _check(sizes: Sizes, config: Vggt) -> None:
    """Raise UserError if the model does not support the config."""
    if config.resize != "native" and config.size % sizes.patch:
        nearest = max(1, round(config.size / sizes.patch)) * sizes.patch
        raise UserError(
            f"vggt: size {config.size!r} is not a multiple of the patch, {sizes.patch};"
            f" set size = {nearest}"
        )
    if beyond := [layer for layer in config.layers if layer >= sizes.depth]:
        raise UserError(
            f"vggt: layers {beyond!r} do not exist; the model has pairs 0 to {sizes.depth - 1}"
        )


def _empty(sizes: Sizes) -> Network:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # initialising on meta does nothing
        return Network(sizes)


def _random(sizes: Sizes) -> Network:
    """Return a network with random weights, the same for the same sizes."""
    network = _empty(sizes).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        drawn = parameter.detach()
        if "norm" in name or name.endswith(("scale", "gamma")):
            drawn.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            drawn.normal_(0.0, 0.02, generator=generator)
    return network
