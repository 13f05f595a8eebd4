"""trackio: https://huggingface.co/docs/trackio."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from typing import Any

from rgb2act_core.interfaces import LoggedRun, LoggedStage

from .config import Trackio
from .library import library


class TrackioLogger:
    """Implements ``rgb2act_core.interfaces.Logger``.

    trackio finds a run by its name, so the name contains the id of the run.
    """

    replays = False

    def __init__(self, config: Trackio) -> None:
        self.config = config

    def start(self, run: LoggedRun) -> None:
        """Begin or continue the run in the local folder."""
        with contextlib.redirect_stdout(sys.stderr):
            self._trackio = library("trackio", "trackio")
            self._run = self._trackio.init(
                project=self.config.project,
                name=f"{run.name}-{run.id[:8]}",
                config={**run.spec, "spec": run.text},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log one row at the stage's step."""
        self._run.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def log_stage(self, stage: LoggedStage) -> None:
        """Log results, images and videos at step 0."""
        from PIL import Image

        row: dict[str, Any] = {f"results/{stage.name}/{n}": v for n, v in stage.values.items()}
        for name, data in stage.images.items():
            row[f"{stage.name}/{name}"] = self._trackio.Image(Image.open(io.BytesIO(data)))
        for name, path in stage.videos.items():
            row[f"{stage.name}/{name}"] = self._trackio.Video(str(path))
        self._run.log(row, step=0)

    def finish(self, complete: bool) -> None:
        """Write what is buffered."""
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()
