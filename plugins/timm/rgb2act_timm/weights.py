"""Load a checkpoint into a network of timm."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgb2act_core.weights import fitting, load_strict, named_tensors, read_checkpoint

from .packages import is_packaged, rename


def load_file(net: nn.Module, path: Path, model: str, data: Any, dtype: torch.dtype) -> None:
    """Load a checkpoint in timm's layout, a package's, or one that timm converts.

    Tensors of the classifier are left out. Raises UserError if the others do not fit.
    """
    marks = ("_conv_stem.", *(name.split(".")[0] + "." for name in net.state_dict()))
    tensors = named_tensors(read_checkpoint(path), marks, path)
    with fitting(path):
        if is_packaged(tensors):
            tensors = rename(tensors, model)
        tensors = _without_classifier(tensors, data)
        if set(net.state_dict()) != set(tensors):
            tensors = _without_classifier(_converted(net, tensors), data)
    load_strict(net, tensors, source=path, dtype=dtype)


def _without_classifier(tensors: Mapping[str, Tensor], data: Any) -> dict[str, Tensor]:
    names = data.classifier or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def _converted(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors after timm's conversion of official layouts for this kind of network."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(tensors)
    found = convert(dict(tensors), net)
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
