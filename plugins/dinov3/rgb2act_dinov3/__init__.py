"""DINOv3 as a backbone. Light: the model is imported when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Component, hookimpl

from .config import Dinov3

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Backbone


def build(config: Dinov3) -> Backbone:
    """Return the vision transformer with its weights."""
    from .model import load

    return load(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``dinov3``."""
    yield Component(
        name="dinov3",
        config=Dinov3,
        build=build,
        tiny=Dinov3(weights="random", dim=32, depth=2, heads=2, size=32),
        summary="DINOv3, self-supervised; per frame, 384 to 4096 channels",
    )
