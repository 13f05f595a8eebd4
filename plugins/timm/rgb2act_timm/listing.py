"""What a model of timm has to offer, without its weights."""

from __future__ import annotations

from typing import Any

import timm
import torch

from rgb2act_core import UserError

from .catalogue import config_of
from .layers import choose, layers_of
from .preprocess import target


def describe(model: str, height: int, width: int) -> dict[str, Any]:
    """Return a model's parameters, and channels and tokens of its default layer for an image."""
    row: dict[str, Any] = {
        "model": model,
        "parameters": None,
        "channels": None,
        "tokens": None,
        "licence": config_of(model).license or "not stated",
        "problem": "",
    }
    with torch.device("meta"):
        net = timm.create_model(model, pretrained=False, num_classes=0)
    row["parameters"] = sum(parameter.numel() for parameter in net.parameters())
    try:
        (layer,) = choose(layers_of(net, model), (), model)
    except UserError:
        return {**row, "problem": "no token map"}
    h, w = target(height, width, size=None, scale=1.0, multiple=layer.stride)
    return {**row, "channels": layer.channels, "tokens": [h // layer.stride, w // layer.stride]}
