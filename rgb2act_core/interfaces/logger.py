"""What a logger implements: it sends curves, results, images and videos of a run elsewhere.

Logging does not change a run. rgb2act calls every method of a logger in a thread of the logger's
own. A logger that raises or blocks is left out for the rest of the run, with one warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs


@attrs.frozen(eq=False, kw_only=True)
class LoggedRun:
    """The run that a logger receives."""

    name: str
    """Name of the run, as in its spec."""
    id: str
    """16 hex digits that no other run has. A resumed run has the id of the interrupted one."""
    folder: Path
    """Existing folder for the logger's own files, in the run's folder. A resumed run has the
    same."""
    root: Path
    """Folder of all runs."""
    spec: Mapping[str, str | int | float | bool]
    """The value of each key of the spec by its path, such as ``policy.steps`` or
    ``backbone.0.use``."""
    text: str
    """The spec as TOML, with defaults and without keys that change no result."""


@attrs.frozen(eq=False, kw_only=True)
class LoggedStage:
    """Results of a finished stage."""

    name: str
    """Name of the stage, such as ``act``."""
    values: Mapping[str, float]
    """Finite results by name. Those of ``act`` include ``success_rate`` and the bounds of its 95 %
    interval, ``success_low`` and ``success_high``."""
    images: Mapping[str, bytes] = attrs.field(factory=dict)
    """PNG files by name."""
    videos: Mapping[str, Path] = attrs.field(factory=dict)
    """Paths of MP4 files by name."""


class Logger(Protocol):
    """A place that receives the curves and results of a run.

    ``build`` must be cheap: imports and connections belong in ``start``. Everything a logger keeps
    in memory is lost when a run is interrupted; ``run.folder`` is not.
    """

    replays: bool
    """Whether a resumed stage is sent again from its first row. Set it to True for a store that
    replaces the rows of a stage, and to False for one that appends: it receives only the rows that
    earlier processes have not sent."""

    def start(self, run: LoggedRun) -> None:
        """Connect and send the spec. Called once per process, before the other methods."""

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Send one row of a stage's learning curves: metrics by name, such as ``val/loss``.

        Steps of a stage do not decrease. Two rows can have the same step, with different names.
        """

    def log_stage(self, stage: LoggedStage) -> None:
        """Send the results of a finished stage."""

    def finish(self, complete: bool) -> None:
        """Send what is buffered and disconnect; ``complete`` is False if the run was stopped."""
