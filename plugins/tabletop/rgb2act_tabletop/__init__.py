"""Two arms at a table in MuJoCo: demonstrations from a script, episodes to act in, no GL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Component, hookimpl

from .config import Tabletop

if TYPE_CHECKING:
    from .recording import TabletopEnvironment

__all__ = ["Tabletop", "build"]


def build(config: Tabletop) -> TabletopEnvironment:
    """Return the environment; mujoco and gymnasium are imported here."""
    from .recording import TabletopEnvironment

    return TabletopEnvironment(config)


@hookimpl
def rgb2act_environments() -> Iterator[Component]:
    """Yield the one environment of this plugin."""
    yield Component(
        name="tabletop",
        config=Tabletop,
        build=build,
        tiny=Tabletop(task="reach", size=32),
        summary="two 6-joint arms and a cube on a table, MuJoCo, ray-cast cameras",
    )
