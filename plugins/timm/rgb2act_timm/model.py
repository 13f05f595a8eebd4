"""A model of timm as a backbone.

timm: github.com/huggingface/pytorch-image-models, Apache-2.0. Token maps come from its
``forward_intermediates``, which drops class and register tokens. Pooling and classifiers are left
out.

Shapes: B = timesteps, V = cameras, F = images, N = patches, C = channels, h w = rows and columns of
a map
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.weights import locate_weights

from .catalogue import config_of
from .config import Timm, refuse
from .layers import LayerInfo, choose, is_pyramid, layers_of
from .preprocess import prepare, target
from .weights import load_file


class TimmBackbone:
    """Frozen backbone that encodes single frames."""

    def __init__(self, net: nn.Module, data: Any, config: Timm) -> None:
        self.data, self.config = data, config
        self.all_layers = layers_of(net, config.model)
        self.sized = SizedNetwork(
            net.eval().requires_grad_(False), norm=not is_pyramid(self.all_layers)
        )
        self.accepted: set[tuple[int, int]] = set()  # sizes of input
        self.layers = choose(self.all_layers, config.chosen, config.model)
        self.multiple = max(layer.stride for layer in self.layers)
        if self.sized.resizes:
            self.multiple = max(layer.stride for layer in self.all_layers)
        if config.size is not None and config.size % self.multiple:
            nearest = max(1, round(config.size / self.multiple)) * self.multiple
            raise refuse(
                f"size {config.size!r} is not a multiple of the stride, {self.multiple}; set size ="
                f" {nearest}"
            )
        self.info = BackboneInfo(
            dim=sum(layer.channels for layer in self.layers), description=self._description()
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the token grid.

        Raises UserError if the model does not take images of that size.
        """
        h, w = self._target(height, width)
        self._check_size(h, w)
        stride = min(layer.stride for layer in self.layers)
        return h // stride, w // stride

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

    def _target(self, height: int, width: int) -> tuple[int, int]:
        config = self.config
        return target(height, width, size=config.size, scale=config.scale, multiple=self.multiple)

    @torch.no_grad()
    def _check_size(self, height: int, width: int) -> None:
        """Raise UserError if the model does not take images of this size.

        A transformer is resized to it. Other models encode a black image, once per size.
        """
        if (height, width) in self.accepted:
            return
        try:
            if self.sized.resizes:
                self.sized.resize((height, width))
            else:
                weight = next(self.sized.net.parameters())
                self.sized.maps(weight.new_zeros(1, 3, height, width), self.layers)
        except (RuntimeError, AssertionError, ValueError, TypeError) as err:
            line = (str(err).strip().splitlines() or ["no reason given"])[0][:120].rstrip(".")
            _, *trained = self.data.input_size
            raise refuse(
                f"model {self.config.model!r}, trained with images of {trained[0]}x{trained[1]},"
                f" does not take images of {height}x{width} ({line}); set size to that of its"
                " training"
            ) from err
        self.accepted.add((height, width))

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


class SizedNetwork:
    """A network whose position embeddings follow the size of its images.

    timm resamples the embeddings of transformers to a size. Each size starts from the embeddings
    of the checkpoint, so tokens do not depend on the sizes of earlier images.
    """

    def __init__(self, original: Any, *, norm: bool) -> None:
        self.original = self.net = original
        self.norm = norm  # whether the final norm is applied to each layer
        self.resizes = hasattr(original, "set_input_size")
        self.size: tuple[int, int] | None = None  # None: as in the checkpoint

    def maps(self, images_F3hw: Tensor, layers: Sequence[LayerInfo]) -> list[Tensor]:
        """Return the map (F, C, h, w) of each layer."""
        if self.resizes:
            height, width = images_F3hw.shape[2:]
            self.resize((height, width))
        return list(
            self.net.forward_intermediates(
                images_F3hw,
                indices=[layer.index for layer in layers],
                norm=self.norm,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        )

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        self.original.to(device)
        self.net, self.size = self.original, None

    def resize(self, size: tuple[int, int]) -> None:
        """Fit the position embeddings to images of a height and width."""
        if size == self.size:
            return
        self.net = sharing_copy(self.original)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about timm's resampling
            self.net.set_input_size(img_size=size)
        self.net.requires_grad_(False)
        self.size = size


def sharing_copy(net: nn.Module) -> Any:
    """Return a copy of a network with the same tensors."""
    return copy.deepcopy(net, {id(t): t for t in (*net.parameters(), *net.buffers())})


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
    path = locate_weights(config.weights, config.official, "timm")
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
