"""LeRobotDatasets: read in place as demonstrations, and written from the episodes of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Command, Component, hookimpl
from rgb2act_core.interfaces import DatasetSummary

from .commands import commands
from .config import DepthCamera, LeRobot

if TYPE_CHECKING:
    from .environment import LeRobotEnvironment

__all__ = ["DepthCamera", "LeRobot", "build"]

TINY = Path(__file__).parent / "tiny"  # two synthetic episodes of a few frames


def build(config: LeRobot) -> LeRobotEnvironment:
    """Return the environment; importing it imports pyarrow and PyAV."""
    from .environment import LeRobotEnvironment

    return LeRobotEnvironment(config)


def inspect(path: Path) -> DatasetSummary | None:
    """Return a summary of the LeRobotDataset at ``path``; None if there is none."""
    from .recorded.schema import is_lerobot

    if not is_lerobot(path):
        return None
    from .recorded.summary import summarize  # imports pyarrow and PyAV

    return summarize(path)


@hookimpl
def rgb2act_environments() -> Iterator[Component]:
    """Yield the environment ``lerobot``."""
    yield Component(
        name="lerobot",
        config=LeRobot,
        build=build,
        tiny=LeRobot(data=TINY),
        summary="recorded episodes of a LeRobotDataset (v2.0, v2.1, v3.0)",
        capabilities=frozenset({Capability.DATA_CHECKS}),
        inspect=inspect,
    )


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield the command that writes LeRobotDatasets."""
    yield from commands()
