"""Recorded episodes of ALOHA, robomimic and diffusion_policy, read in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rgb2act_core import Component, hookimpl
from rgb2act_core.interfaces import DatasetSummary

from .config import Recordings

if TYPE_CHECKING:
    from .environment import RecordingsEnvironment

__all__ = ["Recordings", "build"]

TINY = Path(__file__).parent / "tiny"  # two synthetic episodes of a few frames


def build(config: Recordings) -> RecordingsEnvironment:
    """Return the environment; importing it imports h5py and numcodecs."""
    from .environment import RecordingsEnvironment

    return RecordingsEnvironment(config)


def inspect(path: Path) -> DatasetSummary | None:
    """Return a summary of the episodes at ``path``; None if they have none of the formats."""
    from .formats import open_data_set

    data_set = open_data_set(path)
    if data_set is None:
        return None
    from .summary import summarize

    return summarize(data_set)


@hookimpl
def rgb2act_environments() -> Iterator[Component]:
    """Yield the environment ``recordings``."""
    yield Component(
        name="recordings",
        config=Recordings,
        build=build,
        tiny=Recordings(data=TINY),
        summary="recorded episodes: ALOHA or robomimic HDF5, or diffusion_policy's replay buffers",
        inspect=inspect,
    )
