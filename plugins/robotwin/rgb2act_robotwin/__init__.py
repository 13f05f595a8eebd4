"""RoboTwin 2.0: its recorded episodes, read where they lie, and its simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rgb2act_core import Capability, Command, Component, hookimpl
from rgb2act_core.interfaces import DatasetSummary, Diagnostic

from . import commands, serving
from .config import Robotwin

if TYPE_CHECKING:
    from .environment import RobotwinEnvironment

__all__ = ["Robotwin", "build"]

TINY = Path(__file__).parent / "tiny"  # two made-up episodes of a few frames


def build(config: Robotwin) -> RobotwinEnvironment:
    """Return the environment; h5py is imported here."""
    from .environment import RobotwinEnvironment

    return RobotwinEnvironment(config)


def inspect(path: Path) -> DatasetSummary | None:
    """Return what lies at a path; None when there is no episode of RoboTwin."""
    from .recorded.summary import inspect as look

    return look(path)


def diagnose(config: Robotwin) -> Iterator[Diagnostic]:
    """Yield what the simulator needs, and what of it is there."""
    from .simulator.preflight import diagnose as look

    return look(config)


@hookimpl
def rgb2act_environments() -> Iterator[Component]:
    """Yield the one environment of this plugin."""
    yield Component(
        name="robotwin",
        config=Robotwin,
        build=build,
        tiny=Robotwin(task="handover_block", data=TINY),
        summary="RoboTwin 2.0: two-armed tasks, recorded episodes in all layouts and the simulator",
        capabilities=frozenset(
            {
                Capability.SEED_SCREENING,
                Capability.RESULTS_PUBLISHER,
                Capability.IMAGE_SKIPPING,
                Capability.SIMULATOR_FACTS,
            }
        ),
        inspect=inspect,
        diagnose=diagnose,
    )


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield what this plugin adds to the command line."""
    yield from commands.commands()
    yield from serving.commands()
