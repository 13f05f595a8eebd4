"""What a spec can say about the small backbones and teachers."""

from __future__ import annotations

from typing import Any

import attrs


def _at_least(low: float) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not value >= low:
            raise ValueError(f"must be at least {low}, got {value!r}")

    return check


def _above(low: float) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not value > low:
            raise ValueError(f"must be above {low}, got {value!r}")

    return check


def _even(_: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 2 or value % 2:
        raise ValueError(f"must be an even number from 2 on, got {value!r}")


@attrs.frozen(kw_only=True)
class PatchStats:
    """Describe each patch by the mean and spread of its colours: 12 channels."""

    patch: int = attrs.field(default=4, validator=_at_least(1))
    """Side of a patch, pixels; the image's height and width are multiples of it."""


@attrs.frozen(kw_only=True)
class RandConv:
    """Describe each patch by two layers of seeded random convolution."""

    dim: int = attrs.field(default=32, validator=_at_least(1))
    """Channels of a token, and of the layer before it."""
    stride: int = attrs.field(default=4, validator=_even)
    """Pixels from one token to the next; the image's height and width are multiples of it."""
    seed: int = attrs.field(default=0, validator=_at_least(0))
    """Seed of the weights."""


@attrs.frozen(kw_only=True)
class CloudStats:
    """Say where the red, green, blue, yellow and neutral points of a cloud are: 35 numbers."""

    width: float = attrs.field(default=0.07, validator=_above(0))
    """How far in chromaticity a colour reaches; small values make the assignment hard."""
    prior: float = attrs.field(default=0.1, validator=_above(0))
    """Points that pull a colour's mean to the cloud's: what a colour nobody wears falls back on."""


@attrs.frozen(kw_only=True)
class PointNet:
    """Describe a cloud by a seeded random PointNet."""

    dim: int = attrs.field(default=128, validator=_at_least(1))
    """Numbers in an embedding."""
    points: int = attrs.field(default=512, validator=_at_least(1))
    """Points looked at, evenly spread over the cloud's order."""
    seed: int = attrs.field(default=0, validator=_at_least(0))
    """Seed of the weights."""
