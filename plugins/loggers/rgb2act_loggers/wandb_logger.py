"""Weights & Biases: https://docs.wandb.ai/ref/python/."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgb2act_core.interfaces import LoggedRun, LoggedStage

from .config import Wandb
from .library import library

START_SECONDS = 60.0  # that W&B may take to connect


class WandbLogger:
    """Implements ``rgb2act_core.interfaces.Logger``.

    Each stage has a step axis of its own, ``STAGE/step``. W&B's global step must increase over all
    processes of a run; it is kept in a file, because W&B does not read it back when it is offline.
    """

    replays = False

    def __init__(self, config: Wandb) -> None:
        self.config = config
        self._stages: set[str] = set()

    def start(self, run: LoggedRun) -> None:
        """Begin or continue the run with the id of this run."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # sends no reports of crashes
        self._wandb = library("wandb", "wandb")
        self._counter = run.folder / f"step-{run.id}"
        self._count = int(self._counter.read_text()) if self._counter.exists() else 0
        resumes = self.config.mode == "online"  # offline, the id alone joins the parts
        self._run = self._wandb.init(
            project=self.config.project,
            entity=self.config.entity or None,
            name=run.name,
            id=run.id,
            resume="allow" if resumes else None,
            mode=self.config.mode,
            dir=str(run.folder),
            config=dict(run.spec),
            tags=self.config.tags or None,
            reinit="create_new",
            settings=self._wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                init_timeout=START_SECONDS,
                login_timeout=START_SECONDS,
            ),
        )
        Path(self._run.dir, "spec.toml").write_text(run.text, encoding="utf-8")

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Log one row over the stage's own step."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/step", hidden=True)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._log({f"{stage}/{name}": value for name, value in values.items()}, stage, step)

    def log_stage(self, stage: LoggedStage) -> None:
        """Write results into the run's summary, and log images and videos."""
        self._run.summary.update(
            {f"results/{stage.name}/{name}": value for name, value in stage.values.items()}
        )
        media: dict[str, Any] = {
            f"{stage.name}/{name}": self._image(data) for name, data in stage.images.items()
        }
        for name, path in stage.videos.items():
            media[f"{stage.name}/{name}"] = self._video(path)
        if media:
            self._log(media)

    def finish(self, complete: bool) -> None:
        """Mark the run as finished, or as stopped."""
        self._run.finish(exit_code=0 if complete else 1)

    def _log(self, values: dict[str, Any], stage: str = "", step: int = 0) -> None:
        row = values | ({f"{stage}/step": step} if stage else {})
        self._counter.write_text(str(self._count + 1))  # before logging: no step is used twice
        self._run.log(row, step=self._count)
        self._count += 1

    def _image(self, data: bytes) -> Any:
        from PIL import Image

        return self._wandb.Image(Image.open(io.BytesIO(data)))

    def _video(self, path: Path) -> Any:
        return self._wandb.Video(str(path), format="mp4")
