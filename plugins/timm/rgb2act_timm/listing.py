"""What a model of timm has to offer, without its weights."""

from __future__ import annotations

from typing import Any

import timm
import torch

from rgb2act_core import UserError

from .catalogue import config_of
from .config import Timm
from .model import TimmBackbone
from .sized import needs_values


def describe(model: str, height: int, width: int) -> dict[str, Any]:
    """Return a model's parameters, and channels and tokens of its default layer for an image.

    The network is on PyTorch's device ``meta``, which knows shapes and has no values.
    """
    data = config_of(model)
    row: dict[str, Any] = {
        "model": model,
        "parameters": None,
        "channels": None,
        "tokens": None,
        "licence": data.license or "not stated",
        "problem": "",
    }
    with torch.device("meta"):
        net = timm.create_model(model, pretrained=False, num_classes=0)
    row["parameters"] = sum(parameter.numel() for parameter in net.parameters())
    try:
        backbone = TimmBackbone(net, data, Timm(model=model, weights="random"))
    except UserError:
        return {**row, "problem": "no token map"}
    row["channels"] = backbone.info.dim
    try:
        return {**row, "tokens": list(backbone.grid(height, width))}
    except UserError as err:
        if not needs_values(err.__cause__):
            return {**row, "problem": f"not for {height}x{width}; set size"}
    except Exception:  # any error of a network that is run without values
        pass
    return {**row, "problem": "not known without weights"}
