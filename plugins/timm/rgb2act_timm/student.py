"""A model of timm as a student.

Shapes: B = frames, V = cameras, H W = pixels, C = channels, h w = rows and columns of the map
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgb2act_core import UserError
from rgb2act_core.interfaces import StudentOutput, StudentShape
from rgb2act_core.student_heads import KeypointHead

from .catalogue import config_of
from .config import refuse
from .grids import grid_of
from .layers import LayerInfo, choose, is_pyramid, layers_of
from .model import create
from .preprocess import target
from .sized import (
    UNFIT,
    SizedNetwork,
    create_without_values,
    map_shapes,
    maps_of,
    needs_values,
    set_size,
)
from .student_config import TimmStudentConfig
from .weights import load_file, weights_of


class TimmModule(nn.Module):
    """A model up to the chosen layer, then keypoints of each camera and an MLP."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, config: TimmStudentConfig, shape: StudentShape) -> None:
        super().__init__()
        data, layers = config_of(config.model), layers_of(net, config.model)
        chosen = () if config.layer is None else (config.layer,)
        self.layer: LayerInfo = choose(layers, chosen, config.model)[0]
        self.norm = not is_pyramid(layers)
        _, height, width = data.input_size
        trained = (height, width)
        multiple = SizedNetwork(net, norm=self.norm).multiple(
            [layer for layer in layers if layer.index <= self.layer.index],
            max(layer.stride for layer in layers),
            trained,
        )
        self.size = target(
            *shape.image, size=None, scale=config.scale, multiple=multiple, trained=trained
        )
        channels, grid = self._map_of(net, config.model, trained)
        net.prune_intermediate_layers([self.layer.index], prune_norm=not self.norm, prune_head=True)
        self.net = net
        for name, values in (("mean", data.mean), ("std", data.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.head = KeypointHead(
            channels, grid, shape, keypoints=config.keypoints, hidden=config.hidden
        )

    def _map_of(
        self, net: Any, model: str, trained: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        """Fit the network to its images, and return the channels and the grid of its map.

        ``trained`` is the size of the images that the model was trained with.
        """
        height, width = self.size
        usual = None
        with contextlib.suppress(*UNFIT):
            usual = map_shapes(net, trained, [self.layer], norm=self.norm)
        try:
            if hasattr(net, "set_input_size"):
                set_size(net, self.size)
            (found,) = map_shapes(net, self.size, [self.layer], norm=self.norm)
        except UNFIT as err:
            raise refuse(
                f"model {model!r} does not take images of {height}x{width}; use another model"
            ) from err
        grid = grid_of([found], [self.layer], self.size, usual=usual, trained=trained, model=model)
        return found[0], grid

    def forward(self, images_BV3HW: Tensor) -> StudentOutput:
        """Return the estimates of embedding and tokens."""
        images = (images_BV3HW.flatten(0, 1) - self.mean) / self.std
        if images.shape[2:] != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear", align_corners=False)
        (maps,) = maps_of(self.net, images, [self.layer], norm=self.norm)
        output: StudentOutput = self.head(maps.unflatten(0, (-1, images_BV3HW.shape[1])))
        return output


def load_student(config: TimmStudentConfig, shape: StudentShape, pretrained: bool) -> nn.Module:
    """Return a student, with official, packaged, local or random weights if ``pretrained``.

    Raises UserError if the model, its layer or its weights do not fit the config.
    """
    data, net = config_of(config.model), create(config.model)
    path = weights_of(config) if pretrained else None
    if path is not None:
        load_file(net, path, config.model, data, torch.float32)
    return TimmModule(net, config, shape)


def problem_of(config: TimmStudentConfig, shape: StudentShape) -> str | None:
    """Return why a model cannot have a shape, found without its weights, or None if it can."""
    try:
        with torch.random.fork_rng(devices=[]):
            TimmModule(create_without_values(config.model), config, shape)
    except UserError as err:
        return None if needs_values(err.__cause__) else str(err)
    except UNFIT as err:
        if not needs_values(err):
            raise
    return None
