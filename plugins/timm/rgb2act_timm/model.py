"""A model of timm as a backbone.

timm: github.com/huggingface/pytorch-image-models, Apache-2.0. Token maps come from its
``forward_intermediates``, which drops class and register tokens. Pooling and classifiers are left
out.

Shapes: B = timesteps, V = cameras, F = images, N = patches, C = channels, h w = rows and columns of
a map
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgb2act_core.interfaces import BackboneInfo

from .catalogue import config_of
from .config import Timm, refuse
from .grids import grid_of
from .layers import choose, is_pyramid, layers_of
from .preprocess import nearest, prepare, target
from .sized import UNFIT, SizedNetwork
from .weights import load_file, weights_of


class TimmBackbone:
    """Frozen backbone that encodes single frames."""

    def __init__(self, net: nn.Module, data: Any, config: Timm) -> None:
        self.data, self.config = data, config
        self.all_layers = layers_of(net, config.model)
        self.sized = SizedNetwork(
            net.eval().requires_grad_(False), norm=not is_pyramid(self.all_layers)
        )
        self.usual: list[torch.Size] | None = None  # shapes of the maps at the size of training
        self.grids: dict[tuple[int, int], tuple[int, int]] = {}  # by size of input
        self.layers = choose(self.all_layers, config.chosen, config.model)
        coarsest = max(layer.stride for layer in self.all_layers)
        self.multiple = self.sized.multiple(self.layers, coarsest, self._trained)
        if config.size is not None and self._target(config.size, config.size)[0] != config.size:
            raise refuse(
                f"size {config.size!r} is not a multiple of the stride, {self.multiple}; set size ="
                f" {nearest(config.size, self.multiple)}"
            )
        self.info = BackboneInfo(dim=self._channels(), description=self._description())

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid.

        Raises UserError if the model does not take images of that size.
        """
        size = self._target(height, width)
        if size not in self.grids:
            self.grids[size] = self._grid_of(*size)
        return self.grids[size]

    @torch.no_grad()
    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest frame."""
        weight = next(self.sized.net.parameters())
        rgb_BVHW3 = rgb_BKVHW3[:, -1].to(weight.device)
        height, width = rgb_BVHW3.shape[2:4]
        to, grid = self._target(height, width), self.grid(height, width)
        images_F3hw = prepare(rgb_BVHW3.flatten(0, 1), to, self.data, self.config.crop)
        maps = self.sized.maps(images_F3hw.to(weight.dtype), self.layers)
        tokens_FNC = joined(maps, grid).flatten(2).transpose(1, 2)
        tokens_BVNC: Tensor = tokens_FNC.contiguous().unflatten(0, rgb_BVHW3.shape[:2])
        return tokens_BVNC

    def to(self, device: torch.device) -> TimmBackbone:
        """Move the weights to a device."""
        self.sized.to(device)
        return self

    @property
    def _trained(self) -> tuple[int, int]:
        """Height and width of the images that the model was trained with."""
        _, height, width = self.data.input_size
        return height, width

    def _target(self, height: int, width: int) -> tuple[int, int]:
        config = self.config
        return target(
            height,
            width,
            size=config.size,
            scale=config.scale,
            multiple=self.multiple,
            trained=self._trained,
        )

    def _channels(self) -> int:
        """Return the channels of all layers: those of their maps, where timm states others."""
        try:
            self.usual = self.sized.shapes(self._trained, self.layers)
        except UNFIT:  # reported once the size of the images is known
            self.usual = None
            return sum(layer.channels for layer in self.layers)
        return sum(shape[0] for shape in self.usual)

    def _grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid for a size of input, or raise UserError."""
        config, trained = self.config, self._trained
        advice = f"set size = {trained[0]}" if len({*trained}) == 1 else "use another model"
        try:
            shapes = self.sized.shapes((height, width), self.layers)
        except UNFIT as err:
            raise refuse(
                f"model {config.model!r}, trained with images of {trained[0]}x{trained[1]}, does"
                f" not take images of {height}x{width}; {advice}"
            ) from err
        return grid_of(
            shapes,
            self.layers,
            (height, width),
            usual=self.usual,
            trained=trained,
            model=config.model,
        )

    def _description(self) -> str:
        config, data = self.config, self.data
        kind = "stage" if is_pyramid(self.all_layers) else "block"
        shown = ", ".join(f"{layer.index} (stride {layer.stride})" for layer in self.layers)
        size = f"size {config.size}" if config.size is not None else f"scale {config.scale:g}"
        crop = f", crop {data.crop_pct:g}" if config.crop else ""
        return (
            f"timm {config.model}, {kind} {shown} of {len(self.all_layers)}, {size}"
            f" {data.interpolation}{crop}, {config.precision}"
        )


def joined(maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Return float32 maps as one (F, C, h, w) of the grid's size, concatenated along C."""
    sized = [
        x_FChw
        if x_FChw.shape[2:] == grid
        else functional.interpolate(x_FChw, grid, mode="bilinear", align_corners=False)
        for x_FChw in (found.float() for found in maps)
    ]
    return torch.cat(sized, 1)


def load(config: Timm) -> TimmBackbone:
    """Return the backbone with official, packaged, local or random weights.

    Raises UserError if the model, its layers or its weights do not fit the config.
    """
    data = config_of(config.model)
    path = weights_of(config)
    dtype: torch.dtype = getattr(torch, config.precision)
    net = create(config.model).to(dtype)
    if path is not None:
        load_file(net, path, config.model, data, dtype)
    return TimmBackbone(net, data, config)


def create(model: str) -> nn.Module:
    """Return timm's network without its classifier, with the same random weights at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
    return net
