"""Which outputs of a model become tokens.

timm lists the layers of a model in ``feature_info``: the blocks of a transformer, or the stages of
a pyramid, each with its channels and its stride in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from .config import Layer, refuse

USUAL_STRIDE = 16  # of the default layer of a pyramid


@attrs.frozen(kw_only=True)
class LayerInfo:
    """One layer of a model."""

    index: int
    channels: int
    stride: int  # pixels


def layers_of(net: Any, model: str) -> tuple[LayerInfo, ...]:
    """Return the layers of a model.

    Raises UserError if the model has no maps of features, such as a pure classifier.
    """
    info = getattr(net, "feature_info", None)
    rows = info if isinstance(info, list) else getattr(info, "info", None)
    if not rows or not hasattr(net, "forward_intermediates"):
        raise refuse(
            f"model {model!r} has no token map in timm, only a class; use a model such as"
            " vit_small_patch14_dinov2.lvd142m, convnext_tiny or tf_efficientnet_lite0"
        )
    return tuple(
        LayerInfo(index=i, channels=int(row["num_chs"]), stride=int(row["reduction"]))
        for i, row in enumerate(rows)
    )


def is_pyramid(layers: Sequence[LayerInfo]) -> bool:
    """Return whether the layers have different strides."""
    return len({layer.stride for layer in layers}) > 1


def choose(
    layers: Sequence[LayerInfo], chosen: Sequence[Layer], model: str
) -> tuple[LayerInfo, ...]:
    """Return the chosen layers in the order of the model, or the default one.

    Raises UserError if a layer does not exist.
    """
    if not chosen:
        return (_default(layers),)
    found = tuple(_find(layers, layer, model) for layer in chosen)
    if len({layer.index for layer in found}) < len(found):
        raise refuse(f"layers {list(chosen)!r} name a layer of {model!r} twice; remove one")
    return tuple(sorted(found, key=lambda layer: layer.index))


def _default(layers: Sequence[LayerInfo]) -> LayerInfo:
    usual = [layer for layer in layers if layer.stride == USUAL_STRIDE]
    return usual[-1] if usual and is_pyramid(layers) else layers[-1]


def _find(layers: Sequence[LayerInfo], layer: Layer, model: str) -> LayerInfo:
    if isinstance(layer, int):
        if -len(layers) <= layer < len(layers):
            return layers[layer]
        raise refuse(f"layer {layer!r} does not exist; {model!r} has layers 0 to {len(layers) - 1}")
    stride = int(layer.removeprefix("stride"))
    found = [info for info in layers if info.stride == stride]
    if not found:
        strides = ", ".join(f"'stride{s}'" for s in sorted({info.stride for info in layers}))
        raise refuse(f"{model!r} has no layer {layer!r}; it has {strides}")
    return found[-1]
