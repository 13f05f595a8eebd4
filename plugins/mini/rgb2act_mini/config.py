"""The configs of the small backbones and teachers."""

from __future__ import annotations

from typing import Any

import attrs
from attrs.validators import ge, gt, le

LARGEST = 65_536  # channels, and pixels of a patch


def _even(_: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if not 2 <= value <= LARGEST or value % 2:
        raise ValueError(f"must be even and from 2 to {LARGEST}, got {value!r}")


@attrs.frozen(kw_only=True)
class PatchStats:
    """Mean and standard deviation of the colours of each patch: 12 channels."""

    patch: int = attrs.field(default=4, validator=[ge(1), le(LARGEST)])
    """Height and width of a patch in pixels; must divide those of the image."""


@attrs.frozen(kw_only=True)
class RandConv:
    """Two random convolution layers."""

    dim: int = attrs.field(default=32, validator=[ge(1), le(LARGEST)])
    """Channels of both layers."""
    stride: int = attrs.field(default=4, validator=_even)
    """Pixels between tokens; must divide the height and width of the image."""
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**31 - 1)])
    """Seed of the weights."""


@attrs.frozen(kw_only=True)
class CloudStats:
    """Positions of the red, green, blue, yellow and neutral points of a cloud: 35 channels."""

    width: float = attrs.field(default=0.07, validator=gt(0))
    """Width of each colour in chromaticity. Points are assigned softly; small values assign them
    almost hard."""
    prior: float = attrs.field(default=0.1, validator=gt(0))
    """Weight, in points, that pulls the mean of each colour to that of the cloud. A colour without
    points has the mean of the cloud."""


@attrs.frozen(kw_only=True)
class PointNet:
    """A PointNet with random weights."""

    dim: int = attrs.field(default=128, validator=[ge(1), le(LARGEST)])
    """Size of the embedding."""
    points: int = attrs.field(default=512, validator=[ge(1), le(10**6)])
    """Points used, evenly spaced in the order of the cloud."""
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**31 - 1)])
    """Seed of the weights."""
