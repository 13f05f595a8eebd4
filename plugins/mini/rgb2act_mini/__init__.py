"""Small backbones and point-cloud teachers that need no downloaded weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Component, hookimpl

from .config import CloudStats, PatchStats, PointNet, RandConv

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Backbone, Teacher


def build_patchstats(config: PatchStats) -> Backbone:
    """Return the colour statistics backbone."""
    from .backbones import PatchStatsBackbone

    return PatchStatsBackbone(config)


def build_randconv(config: RandConv) -> Backbone:
    """Return the random convolution backbone."""
    from .backbones import RandConvBackbone

    return RandConvBackbone(config)


def build_cloudstats(config: CloudStats) -> Teacher:
    """Return the colour moments teacher."""
    from .teachers import CloudStatsTeacher

    return CloudStatsTeacher(config)


def build_pointnet(config: PointNet) -> Teacher:
    """Return the random PointNet teacher."""
    from .teachers import PointNetTeacher

    return PointNetTeacher(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``patchstats`` and ``randconv``."""
    yield Component(
        name="patchstats",
        config=PatchStats,
        build=build_patchstats,
        tiny=PatchStats(),
        summary="mean and standard deviation of the colours of each patch, 12 channels",
    )
    yield Component(
        name="randconv",
        config=RandConv,
        build=build_randconv,
        tiny=RandConv(dim=8),
        summary="two random convolution layers",
    )


@hookimpl
def rgb2act_teachers() -> Iterator[Component]:
    """Yield ``cloudstats`` and ``pointnet``."""
    yield Component(
        name="cloudstats",
        config=CloudStats,
        build=build_cloudstats,
        tiny=CloudStats(),
        capabilities=frozenset({Capability.GROUP_TOKENS}),
        summary="positions of the points of five colours, 35 channels",
    )
    yield Component(
        name="pointnet",
        config=PointNet,
        build=build_pointnet,
        tiny=PointNet(dim=16, points=64),
        summary="PointNet with random weights",
    )
