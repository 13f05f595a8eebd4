"""A network of timm that follows the size of its images, and the shapes of its maps.

Shapes: F = images, C = channels, h w = rows and columns of a map
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from .layers import LayerInfo

# what a network raises for images that it does not take
UNFIT = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, ZeroDivisionError)
_META = re.compile(r"\bmeta\b", re.IGNORECASE)


def needs_values(err: BaseException | None) -> bool:
    """Return whether an error means that a network on the device ``meta`` needs values."""
    return isinstance(err, NotImplementedError) or bool(_META.search(str(err)))


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
        height, width = images_F3hw.shape[2:]
        self.resize((height, width))
        return maps_of(self.net, images_F3hw, layers, norm=self.norm)

    def shapes(self, size: tuple[int, int], layers: Sequence[LayerInfo]) -> list[torch.Size]:
        """Return the shape (C, h, w) of each layer's map. Raises one of UNFIT as the network does.

        Nothing is computed, unless the network needs values to find the shapes.
        """
        if self.resizes and size != self.size:
            net = _copied(self.original, _without_values)
            try:
                with torch.device("meta"):  # tables of relative positions can take gigabytes
                    set_size(net, size)
                return map_shapes(net, size, layers, norm=self.norm)
            except UNFIT as err:
                if not needs_values(err):
                    raise
        self.resize(size)
        return map_shapes(self.net, size, layers, norm=self.norm)

    def multiple(self, layers: Sequence[LayerInfo], coarsest: int, trained: tuple[int, int]) -> int:
        """Return what the sides of images are multiples of.

        It is the stride of the coarsest of ``layers``, or that of the ``coarsest`` of all layers
        where the network takes no other images.
        """
        multiple = max(layer.stride for layer in layers)
        if self.resizes or multiple == coarsest:
            return coarsest
        odd = (trained[0] // coarsest * coarsest + multiple, trained[1])
        try:
            self.shapes(odd, layers)
        except UNFIT:
            return coarsest
        return multiple

    def to(self, device: torch.device) -> None:
        """Move the weights to a device."""
        self.original.to(device)
        self.net, self.size = self.original, None

    def resize(self, size: tuple[int, int]) -> None:
        """Fit the position embeddings to images of a height and width."""
        if size == self.size or not self.resizes:
            return
        net = _copied(self.original, lambda tensor: tensor)
        set_size(net, size)
        self.net, self.size = net.requires_grad_(False), size


def create_without_values(
    model: str, *, classes: int | None = 0, pretrained: bool = False
) -> nn.Module:
    """Return timm's network on the device ``meta``, which knows shapes and has no values.

    ``classes`` are those of its classifier: 0 for none, None for those of its weights.
    """
    with torch.device("meta"):
        net: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=classes)
    return net


def set_size(net: Any, size: tuple[int, int]) -> None:
    """Fit the position embeddings of a network to images of a height and width."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about timm's resampling
        net.set_input_size(img_size=size)


def maps_of(
    net: Any, images_F3hw: Tensor, layers: Sequence[LayerInfo], *, norm: bool
) -> list[Tensor]:
    """Return the map (F, C, h, w) of each layer."""
    return list(
        net.forward_intermediates(
            images_F3hw,
            indices=[layer.index for layer in layers],
            norm=norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
    )


@torch.no_grad()
def map_shapes(
    net: nn.Module, size: tuple[int, int], layers: Sequence[LayerInfo], *, norm: bool
) -> list[torch.Size]:
    """Return the shape (C, h, w) of each layer's map for images of a height and width.

    It is found on the device ``meta``, which has no values, or else with a black image.
    """
    weight = next(net.parameters())
    image_13hw = weight.new_empty((1, 3, *size), device="meta")
    training = net.training
    try:
        found = maps_of(_copied(net.eval(), _without_values), image_13hw, layers, norm=norm)
    except UNFIT as err:
        if not needs_values(err):
            raise
        found = maps_of(net, weight.new_zeros((1, 3, *size)), layers, norm=norm)
    finally:
        net.train(training)
    return [map_1Chw.shape[1:] for map_1Chw in found]


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _copied(net: nn.Module, replaced: Any) -> Any:
    """Return a copy of a network with other tensors in place of parameters and buffers."""
    return copy.deepcopy(net, {id(t): replaced(t) for t in (*net.parameters(), *net.buffers())})
