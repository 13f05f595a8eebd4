"""TensorBoard event files: curves, results, spec, hyperparameters, images and videos.

The event files are derived from the run's other files and may be deleted. Only the packages that
``tensorboard`` itself needs are used, so videos become animated GIFs, which it shows as images.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...interfaces import LoggedRun, LoggedStage
from .config import TensorBoard
from .event_file import EventFile

RESULTS = (  # columns of the table of hyperparameters
    "act/success_rate",
    "act/success_low",
    "act/success_high",
    "train/action_rmse",
    "train/loss",
)


class TensorBoardLogger:
    """One event file per stage for its curves, and one for everything else."""

    replays = True

    def __init__(self, config: TensorBoard) -> None:
        self.config = config
        self._curves: dict[str, EventFile] = {}

    def start(self, run: LoggedRun) -> None:
        """Open the event file, and write the spec unless an earlier process did."""
        from torch.utils.tensorboard.summary import hparams, text

        self._folder = run.folder
        new = not any(run.folder.glob("events.out.tfevents.*"))
        self._events = EventFile(run.folder)
        if new:
            metrics = {f"results/{name}": 0.0 for name in RESULTS}
            table = hparams(dict(run.spec), metrics)
            self._events.add(0, text("spec", f"```toml\n{run.text}```"), *table)

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write one row.

        The first row of a stage opens an event file that supersedes all older ones. They are kept,
        because a running TensorBoard does not leave a deleted file.
        """
        events = self._curves.get(stage)
        if events is None:
            events = self._curves[stage] = EventFile(self._folder / stage, supersedes=True)
        events.add(step, *_scalars(stage, values))

    def log_stage(self, stage: LoggedStage) -> None:
        """Write results, images and videos."""
        self._events.add(0, *_scalars(f"results/{stage.name}", stage.values))
        for name, data in stage.images.items() if self.config.images else ():
            self._image(f"{stage.name}/{name}", data)
        for name, path in stage.videos.items() if self.config.video_frames else ():
            self._image(f"{stage.name}/{name}", gif(path, self.config.video_frames))

    def finish(self, complete: bool) -> None:
        """Do nothing: everything is written."""

    def _image(self, tag: str, data: bytes) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        value = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        self._events.add(0, Summary(value=[Summary.Value(tag=tag, image=value)]))


def _scalars(prefix: str, values: Mapping[str, float]) -> Iterator[Any]:
    from torch.utils.tensorboard.summary import scalar

    for name, value in values.items():
        yield scalar(f"{prefix}/{name}", value)


def gif(video: Path, most: int) -> bytes:
    """Return an animated GIF of at most ``most`` evenly spaced frames of a video, as fast as it."""
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        total, seconds = stream.frames, stream.frames / float(stream.average_rate or 10)
        count = min(total, most)
        wanted = {i * total // count for i in range(count)}
        decoded: Iterator[tuple[int, Any]] = enumerate(container.decode(stream))
        shown = [frame.to_image() for number, frame in decoded if number in wanted]
    data = io.BytesIO()
    shown[0].save(
        data,
        "GIF",
        save_all=True,
        append_images=shown[1:],
        duration=max(round(1000 * seconds / count), 20),  # milliseconds per frame
        loop=0,
    )
    return data.getvalue()
