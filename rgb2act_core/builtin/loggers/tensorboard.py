"""TensorBoard event files: curves, results, spec, hyperparameters, images and videos.

The event files are derived from the run's other files and may be deleted. Only the packages that
``tensorboard`` itself needs are used, so videos become animated GIFs, which it shows as images.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...interfaces import LoggedRun, LoggedStage
from .config import TensorBoard

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RESULTS = (  # columns of the table of hyperparameters
    "act/success_rate",
    "act/success_low",
    "act/success_high",
    "train/action_rmse",
    "train/loss",
)


def silence_writers() -> None:
    """Print no traceback of TensorBoard's writing threads: the next call raises their error."""
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    before = threading.excepthook
    if getattr(before, "silences_writers", False):
        return

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.thread, _AsyncWriterThread):
            before(args)

    hook.silences_writers = True  # type: ignore[attr-defined]
    threading.excepthook = hook


class TensorBoardLogger:
    """One event file per stage for its curves, and one for everything else."""

    replays = True

    def __init__(self, config: TensorBoard) -> None:
        self.config = config
        self._curves: dict[str, SummaryWriter] = {}

    def start(self, run: LoggedRun) -> None:
        """Open the event file, and write the spec unless an earlier process did."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        silence_writers()
        self._folder = run.folder
        new = not any(run.folder.glob("events.out.tfevents.*"))
        self._writer = SummaryWriter(str(run.folder))
        if new:
            self._writer.add_text("spec", f"```toml\n{run.text}```", 0)
            metrics = {f"results/{name}": 0.0 for name in RESULTS}
            for summary in hparams(dict(run.spec), metrics):
                _add(self._writer, summary)
            self._writer.flush()

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write one row and flush it.

        The first row of a stage opens an event file that supersedes all older ones: with
        ``purge_step=0``, TensorBoard drops what it has read from them. They are kept, because a
        running TensorBoard does not leave a deleted file.
        """
        writer = self._curves.get(stage)
        if writer is None:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(self._folder / stage), purge_step=0)
            self._curves[stage] = writer
        for name, value in values.items():
            writer.add_scalar(f"{stage}/{name}", value, step)
        writer.flush()

    def log_stage(self, stage: LoggedStage) -> None:
        """Write results, images and videos."""
        for name, value in stage.values.items():
            self._writer.add_scalar(f"results/{stage.name}/{name}", value, 0)
        for name, data in stage.images.items() if self.config.images else ():
            self._image(f"{stage.name}/{name}", data)
        for name, path in stage.videos.items() if self.config.video_frames else ():
            self._image(f"{stage.name}/{name}", gif(path, self.config.video_frames))
        self._writer.flush()

    def finish(self, complete: bool) -> None:
        """Close the event files."""
        for writer in (self._writer, *self._curves.values()):
            writer.close()

    def _image(self, tag: str, data: bytes) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        value = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        summary = Summary(value=[Summary.Value(tag=tag, image=value)])
        _add(self._writer, summary)


def _add(writer: Any, summary: Any) -> None:
    """Write what ``SummaryWriter`` has no method for."""
    writer.file_writer.add_summary(summary, 0)


def gif(video: Path, most: int) -> bytes:
    """Return an animated GIF of at most ``most`` evenly spaced frames of a video, as fast as it."""
    import av

    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        frames = [_image_of(frame) for frame in container.decode(stream)]
        seconds = len(frames) / float(stream.average_rate or 10)
    count = min(len(frames), most)
    shown = [frames[i * len(frames) // count] for i in range(count)]
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


def _image_of(frame: Any) -> Any:
    """Return a decoded frame as an image of Pillow."""
    return frame.to_image()
