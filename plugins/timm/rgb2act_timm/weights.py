"""Find a checkpoint, and load it into a network of timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import _builder
from torch import Tensor, nn

from rgb2act_core import UserError
from rgb2act_core.weights import (
    fitting,
    listed,
    load_strict,
    locate_weights,
    named_tensors,
    read_checkpoint,
)

from .config import Timm, refuse
from .packages import is_packaged, packaged, rename
from .sized import create_without_values
from .student_config import TimmStudentConfig

LARGEST_KERNEL = 64  # pixels of a side that are converted; timm resamples kernels by dense matrices


def weights_of(config: Timm | TimmStudentConfig) -> Path | None:
    """Return the path of the weights that a config names; None for random ones.

    Raises UserError if they are not available, which names the package that contains others.
    """
    try:
        return locate_weights(config.weights, config.official, "timm")
    except UserError as err:
        other = packaged(config.model) if config.weights == "hub" else None
        if other is None:
            raise
        raise UserError(
            f"{err}, or set weights to 'package' for {other.name} ({other.source})"
        ) from err


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
    head = create_without_values(model, classes=None).state_dict().keys() - expected.keys()
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
    unchanged = {id(tensor) for tensor in found.values()}
    sources = [tensor for tensor in tensors.values() if id(tensor) not in unchanged]
    return {
        name: _kernel_before(name, tensor, sources)
        for name, tensor in found.items()
        if isinstance(tensor, Tensor)
    }


def _kernel_before(name: str, converted: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """Return a converted tensor, or the kernel that it was resampled from.

    ``sources`` are the tensors that the conversion changes. Position embeddings can have 4
    dimensions too, and may be resampled.
    """
    if converted.ndim != 4 or "pos" in name:
        return converted
    if any(tensor.numel() == converted.numel() for tensor in sources):
        return converted  # which may be reshaped, but is not resampled
    kernels = (tensor for tensor in sources if tensor.ndim == 4)
    alike = (kernel for kernel in kernels if kernel.shape[:2] == converted.shape[:2])
    return next(alike, converted)


def conversion_of(model: str) -> Callable[..., Mapping[str, Any]] | None:
    """Return timm's conversion of official checkpoints of a model, or None if it has none.

    timm passes it to the function that loads pretrained weights, and publishes it nowhere else. So
    that function is replaced while timm builds the model, without values.
    """
    found: list[Callable[..., Mapping[str, Any]] | None] = []

    def loads(
        *_: Any, filter_fn: Callable[..., Mapping[str, Any]] | None = None, **__: Any
    ) -> None:
        found.append(filter_fn)

    usual = _builder.load_pretrained
    _builder.load_pretrained = loads
    try:
        create_without_values(model, pretrained=True)
    finally:
        _builder.load_pretrained = usual
    if not found:
        raise refuse(
            f"timm {timm.__version__} does not tell how it converts weights of {model!r}; install"
            " timm 1.0.31"
        )
    return found[-1]  # parts of a model load before it
