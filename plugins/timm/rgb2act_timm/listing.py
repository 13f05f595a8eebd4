"""What a model of timm has to offer, without its weights."""

from __future__ import annotations

from typing import Any

from rgb2act_core import UserError

from .catalogue import config_of
from .command import UNKNOWN
from .config import Timm
from .model import TimmBackbone
from .sized import UNFIT, create_without_values, needs_values


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
    net = create_without_values(model)
    row["parameters"] = sum(parameter.numel() for parameter in net.parameters())
    try:
        backbone = TimmBackbone(net, data, Timm(model=model, weights="random"))
    except UserError as err:
        return {**row, "problem": str(err)}
    row["channels"] = backbone.info.dim
    try:
        return {**row, "tokens": list(backbone.grid(height, width))}
    except UserError as err:
        if not needs_values(err.__cause__):
            return {**row, "problem": str(err)}
    except UNFIT as err:
        if not needs_values(err):
            raise
    return {**row, "problem": UNKNOWN}
