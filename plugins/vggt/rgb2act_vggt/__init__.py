"""VGGT's aggregator as a backbone. Light: the model is imported when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Component, hookimpl

from .config import Vggt

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Backbone


def build(config: Vggt) -> Backbone:
    """Return the aggregator with its weights."""
    from .backbone import load

    return load(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``vggt``."""
    yield Component(
        name="vggt",
        config=Vggt,
        build=build,
        tiny=Vggt(weights="random", variant="tiny", size=56, context=2),
        summary="VGGT, multi-view geometry; causal windows, 2048 channels",
        capabilities=frozenset({Capability.WINDOWED}),
    )
