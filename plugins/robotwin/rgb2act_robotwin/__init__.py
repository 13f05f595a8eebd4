"""RoboTwin 2.0: its recorded episodes, read in place, and its simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Command, Component, hookimpl
from rgb2act_core.interfaces import DatasetSummary, Diagnostic

from .commands import commands
from .config import Robotwin

if TYPE_CHECKING:
    from .environment import RobotwinEnvironment

__all__ = ["Robotwin", "build"]

TINY = Path(__file__).parent / "tiny"  # two synthetic episodes of a few frames


def build(config: Robotwin) -> RobotwinEnvironment:
    """Return the environment; importing it imports h5py."""
    from .environment import RobotwinEnvironment

    return RobotwinEnvironment(config)


def inspect(path: Path) -> DatasetSummary | None:
    """Return a summary of the episodes at ``path``; None if there are none of RoboTwin."""
    from .recorded.summary import summarize

    return summarize(path)


def diagnose(config: Robotwin) -> Iterator[Diagnostic]:
    """Yield the simulator's requirements and whether they are met."""
    from .simulator import preflight

    return preflight.diagnose(config)


@hookimpl
def rgb2act_environments() -> Iterator[Component]:
    """Yield the environment ``robotwin``."""
    yield Component(
        name="robotwin",
        config=Robotwin,
        build=build,
        version=2,
        tiny=Robotwin(task="handover_block", data=TINY),
        summary="RoboTwin 2.0: bimanual tasks, recorded episodes in any layout, and the simulator",
        capabilities=frozenset(
            {
                Capability.SEED_SCREENING,
                Capability.SCENE_INPUTS,
                Capability.RESULTS_PUBLISHER,
                Capability.IMAGE_SKIPPING,
                Capability.SIMULATOR_FACTS,
                Capability.CLOUD_OBSERVATIONS,
                Capability.DATA_CHECKS,
            }
        ),
        inspect=inspect,
        diagnose=diagnose,
    )


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield the commands that this plugin adds."""
    yield from commands()
