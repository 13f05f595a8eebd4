"""ULIP-2 as a point-cloud teacher: PointBERT, trained to match image and text embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Component, hookimpl

from .config import Ulip

if TYPE_CHECKING:
    from .model import UlipTeacher


def build(config: Ulip) -> UlipTeacher:
    """Return the teacher with its weights loaded."""
    from .model import load

    return load(config)


@hookimpl
def rgb2act_teachers() -> Iterator[Component]:
    """Yield ``ulip``."""
    yield Component(
        name="ulip",
        config=Ulip,
        build=build,
        tiny=Ulip(weights="random", variant="tiny", points=512),
        capabilities=frozenset({Capability.GROUP_TOKENS}),
        summary="ULIP-2 PointBERT: coloured clouds of 10,000 points, 1280 channels",
    )
