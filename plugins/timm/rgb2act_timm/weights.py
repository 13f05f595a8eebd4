"""Load a checkpoint into a network of timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import _builder
from torch import Tensor, nn

from rgb2act_core import UserError
from rgb2act_core.weights import fitting, listed, load_strict, named_tensors, read_checkpoint

from .packages import is_packaged, rename
from .sized import UNFIT

LARGEST_KERNEL = 64  # pixels of a side that are converted; timm resamples kernels by dense matrices


def load_file(net: nn.Module, path: Path, model: str, data: Any, dtype: torch.dtype) -> None:
    """Load a checkpoint in timm's layout, a package's, or one that timm converts.

    Tensors of the classifier are left out. Raises UserError if the others do not fit.
    """
    expected = net.state_dict()
    marks = ("_conv_stem.", *(name.split(".")[0] + "." for name in expected))
    content = read_checkpoint(path)
    tensors = named_tensors(content, marks, path)
    with fitting(path):
        if is_packaged(tensors):
            tensors = rename(tensors, model)
        tensors = _without_classifier(tensors, data)
        if not _fits(expected, tensors):
            _check_kernels(tensors, path)
            tensors = _without_classifier(_converted(net, tensors, model), data)
            tensors = _without_unused_counters(net, tensors)
        if tensors.keys() - expected.keys():
            tensors = _without_head(tensors, expected, model)
    if not tensors.keys() & expected.keys():
        raise UserError(
            f"{path}: has no tensor of {model!r}, such as {next(iter(expected))!r}; it contains"
            f" {listed(content)}; use a checkpoint of that model"
        )
    load_strict(net, tensors, source=path, dtype=dtype)


def _fits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    """Return whether names and shapes are those of the network."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return shapes == {name: tensor.shape for name, tensor in expected.items()}


def _without_classifier(tensors: Mapping[str, Tensor], data: Any) -> dict[str, Tensor]:
    names = data.classifier or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}


def _without_head(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], model: str
) -> dict[str, Tensor]:
    """Return the tensors without those that timm's network has only with its classifier.

    Besides the classifier, these can be a norm before it.
    """
    head = create_valueless(model).state_dict().keys() - expected.keys()
    return {name: tensor for name, tensor in tensors.items() if name not in head}


def _without_unused_counters(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without counters of batch norms that a conversion has not renamed."""
    known, counter = net.state_dict(), ".num_batches_tracked"
    return {name: t for name, t in tensors.items() if name in known or not name.endswith(counter)}


def _check_kernels(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.ndim > 3 and max(tensor.shape[2:]) > LARGEST_KERNEL:
            raise UserError(
                f"{path}: tensor {name!r:.80} has the shape {list(tensor.shape)}, kernels of more"
                f" than {LARGEST_KERNEL} pixels; use a checkpoint of the model that the config"
                " names"
            )


def _converted(net: nn.Module, tensors: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """Return the tensors after timm's conversion of official layouts for this model.

    timm also resamples the kernels of patches of another size. Those stay as they are, as they
    belong to another model.
    """
    convert = conversion_of(model)
    if convert is None:
        return dict(tensors)
    try:
        found = convert(dict(tensors), net)
    except TypeError:  # older conversions take the tensors only, as timm allows
        found = convert(dict(tensors))
    return {
        name: _kernel_before(name, tensor, tensors)
        for name, tensor in found.items()
        if isinstance(tensor, Tensor)
    }


def _kernel_before(name: str, converted: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return a converted tensor, or the kernel that it was resampled from.

    Position embeddings can have 4 dimensions too, and may be resampled.
    """
    if converted.ndim != 4 or "pos" in name:
        return converted
    if any(tensor.numel() == converted.numel() for tensor in tensors.values()):
        return converted  # which may be reshaped, but is not resampled
    kernels = (tensor for tensor in tensors.values() if tensor.ndim == 4)
    alike = (kernel for kernel in kernels if kernel.shape[:2] == converted.shape[:2])
    return next(alike, converted)


def conversion_of(model: str) -> Callable[..., Mapping[str, Any]] | None:
    """Return timm's conversion of official checkpoints of a model, or None if it has none.

    timm passes it to the function that loads pretrained weights, and publishes it nowhere else. So
    that function is replaced while timm builds the model, without values if possible.
    """
    found: list[Callable[..., Mapping[str, Any]] | None] = []

    def loads(
        *_: Any, filter_fn: Callable[..., Mapping[str, Any]] | None = None, **__: Any
    ) -> None:
        found.append(filter_fn)

    usual = _builder.load_pretrained
    _builder.load_pretrained = loads
    try:
        create_valueless(model, pretrained=True, num_classes=0)
    finally:
        _builder.load_pretrained = usual
    return found[-1] if found else None  # the last one, as parts of a model load before it


def create_valueless(model: str, **options: Any) -> nn.Module:
    """Return timm's network on the device ``meta``, or with values if it reads some."""
    try:
        with torch.device("meta"):
            found: nn.Module = timm.create_model(model, **options)
    except UNFIT:  # as many do in older versions of timm
        with torch.random.fork_rng(devices=[]):
            found = timm.create_model(model, **options)
    return found
