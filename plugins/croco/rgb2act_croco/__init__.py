"""CroCo encoders as backbones. The model is imported when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Component, hookimpl

from .config import Croco

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Backbone


def build(config: Croco) -> Backbone:
    """Return the encoder with its weights."""
    from .model import load

    return load(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``croco``."""
    yield Component(
        name="croco",
        config=Croco,
        build=build,
        tiny=Croco(weights="random", dim=32, depth=2, heads=2, size=32),
        summary="CroCo encoder, pretrained by cross-view completion; single frames, 1024 channels",
    )
