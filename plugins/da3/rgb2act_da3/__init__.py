"""Depth Anything 3 networks as backbones. The model is imported when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Component, hookimpl

from .config import DA3

if TYPE_CHECKING:
    from .backbone import DA3Backbone


def build(config: DA3) -> DA3Backbone:
    """Return the backbone with its weights loaded."""
    from .backbone import load

    return load(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``da3``."""
    yield Component(
        name="da3",
        config=DA3,
        build=build,
        tiny=DA3(weights="random", variant="tiny", size=56, context=3),
        summary="Depth Anything 3: multi-view geometry, 768 to 3072 channels, causal windows",
        capabilities=frozenset({Capability.WINDOWED}),
        version=2,
    )
