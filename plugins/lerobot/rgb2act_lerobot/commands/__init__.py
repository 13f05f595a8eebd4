"""Commands that this plugin adds to ``rgb2act``. Importing this package imports no pyarrow."""

from __future__ import annotations

from collections.abc import Iterator

from rgb2act_core import Command

from . import export_lerobot


def commands() -> Iterator[Command]:
    """Yield the commands."""
    yield Command(
        name="export-lerobot",
        summary="write the demonstrations of a run, spec or data set as a LeRobotDataset (v3.0)",
        arguments=export_lerobot.arguments,
        run=export_lerobot.run,
    )
