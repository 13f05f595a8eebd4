"""A recording of the Rerun viewer: a ``.rrd`` file, or a viewer on this machine's display.

Everything is logged on the timelines ``step`` (an integer) and, if the rate is known, ``seconds``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..store.disk_errors import guard
from ..store.files import atomic_write

APPLICATION = "rgb2act"
POINT_RADIUS = 0.003  # metres, of a point of a cloud
HAND_RADIUS = 0.02  # metres
KEYPOINT_RADIUS = 1.5  # pixels


def rerun_sdk() -> ModuleType:
    """Return the module ``rerun``. Raises UserError if it is not installed."""
    try:
        import rerun
    except ImportError as err:
        raise UserError(
            "view: the Rerun SDK is not installed; run pip install 'rgb2act[view]'"
        ) from err
    return rerun


def has_display() -> bool:
    """Return whether a viewer can open a window."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@attrs.define(eq=False)
class Recording:
    """Log images, points, numbers and texts at the current step."""

    rr: Any  # the module rerun
    stream: Any  # rerun.RecordingStream
    rate: float | None = None  # steps per second
    layouts: list[Any] = attrs.field(factory=list)  # of each episode, a rerun.blueprint container

    def at(self, step: int) -> None:
        """Log what follows at this step."""
        self.stream.set_time("step", sequence=step)
        if self.rate:
            self.stream.set_time("seconds", duration=step / self.rate)

    def image(self, path: str, image_HW3: NDArray[np.uint8]) -> None:
        """Log an RGB image."""
        self.stream.log(path, self.rr.Image(np.ascontiguousarray(image_HW3)).compress(90))

    def depth(self, path: str, metres_HW: NDArray[np.floating]) -> None:
        """Log a depth image; 0 is no measurement."""
        self.stream.log(path, self.rr.DepthImage(metres_HW.astype(np.float32), meter=1.0))

    def pixels(self, path: str, keypoints_J2: NDArray[np.floating], size: tuple[int, int]) -> None:
        """Log keypoints on an image of this height and width.

        Their rows and columns are from -1 to 1.
        """
        from ..reporting.keypoints import keypoint_colours

        yx = (keypoints_J2 + 1) / 2 * np.array(size)
        colours = keypoint_colours(len(yx))
        points = self.rr.Points2D(yx[:, ::-1], colors=colours, radii=KEYPOINT_RADIUS)
        self.stream.log(path, points)

    def points(
        self,
        path: str,
        xyz: NDArray[np.floating],
        rgb: NDArray[np.uint8] | None = None,
        radius: float = POINT_RADIUS,
    ) -> None:
        """Log points (P, 3) in metres and their colours (P, 3)."""
        self.stream.log(path, self.rr.Points3D(xyz, colors=rgb, radii=radius))

    def number(self, path: str, value: float) -> None:
        """Log a point of a curve; NaN interrupts the curve."""
        self.stream.log(path, self.rr.Scalars(float(value)))

    def text(self, path: str, text: str) -> None:
        """Log a Markdown text that holds at all steps."""
        document = self.rr.TextDocument(text, media_type=self.rr.MediaType.MARKDOWN)
        self.stream.log(path, document, static=True)


@contextlib.contextmanager
def open_recording(
    name: str, output: Path | None, rate: float | None = None
) -> Iterator[Recording]:
    """Yield a recording that is written to a file, which appears when it is complete.

    Without ``output`` it is shown in a viewer. Raises UserError if there is no display.
    """
    rr = rerun_sdk()
    if output is None and not has_display():
        raise UserError("view: there is no display; write a file with -o FILE.rrd")
    stream = rr.RecordingStream(APPLICATION)
    stream.send_recording_name(name)
    if output is None:
        stream.spawn()
        yield (recording := Recording(rr, stream, rate))
        _send_layouts(recording)
        stream.flush()
        return
    with guard(output), atomic_write(output, remedy="choose another file") as temporary:
        stream.save(temporary)
        yield (recording := Recording(rr, stream, rate))
        _send_layouts(recording)
        stream.flush()
        stream.disconnect()


def _send_layouts(recording: Recording) -> None:
    """Show the episodes in tabs."""
    import rerun.blueprint as rrb

    recording.stream.send_blueprint(rrb.Blueprint(rrb.Tabs(*recording.layouts)))


def add_layout(
    recording: Recording,
    root: str,
    cameras: Sequence[str],
    joints: Sequence[str],
    *,
    world: bool,
    features: Sequence[str] = (),
) -> None:
    """Arrange an episode: cameras, points and feature maps, and a chart per joint next to them.

    ``features`` are the names of the backbones that have feature maps.
    """
    import rerun.blueprint as rrb

    images = [rrb.Spatial2DView(origin=f"{root}/camera/{name}", name=name) for name in cameras]
    space = [rrb.Spatial3DView(origin=f"{root}/world", name="world")] if world else []
    maps = [
        rrb.Spatial2DView(origin=f"{root}/features/{camera}/{name}", name=f"{camera}, {name}")
        for camera in cameras
        for name in features
    ]
    hidden = rrb.PlotLegend(visible=False)
    charts = [
        rrb.TimeSeriesView(origin=f"{root}/joint/{name}", name=name, plot_legend=hidden)
        for name in joints
    ]
    text = rrb.TextDocumentView(origin=f"{root}/text", name="episode")
    rows: list[Any] = [rrb.Grid(*part) for part in ([*images, *space], maps) if part]
    shares = [*[3] * len(rows), 1]
    left = rrb.Vertical(*rows, text, row_shares=shares)
    parts = [left, rrb.Grid(*charts, grid_columns=2)] if charts else [left]
    recording.layouts.append(rrb.Horizontal(*parts, name=root))
