"""Videos of other encoders: B-frames, long groups of pictures, late starts, 10 bits, odd times."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rgb2act_core import UserError

TOP = "videos/observation.images.top/chunk-000/file-000.mp4"
LENGTHS = (12, 7, 16)  # of the episodes of the sample, at 30 Hz
COUNT = sum(LENGTHS)
LEVELS = 40 + 5 * np.arange(COUNT)  # brightness of each frame: 5 apart


def write(
    path: Path,
    options: dict[str, str],
    form: str = "yuv420p",
    ticks: Sequence[int] = tuple(range(0, 100 * COUNT, 100)),
) -> None:
    """Write the frames, of which each has its own brightness, at ticks of 1/3000 s."""
    with av.open(str(path), "w", format="mp4") as video:
        stream: Any = video.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width, stream.pix_fmt = 96, 128, form
        stream.time_base = stream.codec_context.time_base = Fraction(1, 3000)
        for level, tick in zip(LEVELS, ticks, strict=True):
            image = np.full((96, 128, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 3000)
            video.mux(stream.encode(frame))
        video.mux(stream.encode())


def levels(environment: Any) -> list[float]:
    """Return the brightness of all frames, read in blocks, and check single frames read back."""
    found: list[float] = []
    for episode in environment.recorded():
        count = episode.rgb.shape[0]
        single = [episode.rgb[t].mean() for t in reversed(range(count))]
        blocks = [episode.rgb[t : t + 4].mean((1, 2, 3, 4)) for t in range(0, count, 4)]
        assert np.concatenate(blocks).tolist() == single[::-1]
        found += single[::-1]
    return found


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({"bf": "0", "g": "250"}, "yuv420p"),
        ({"bf": "3", "g": "250"}, "yuv420p"),
        ({"bf": "3", "g": "8", "x264-params": "open-gop=1"}, "yuv420p"),
        ({"bf": "2", "g": "4"}, "yuv420p10le"),
    ],
    ids=["long groups", "B-frames", "open groups", "10 bits"],
)
def test_frames_are_found_in_any_group_of_pictures(
    copied: Any, opened: Any, options: dict[str, str], form: str
) -> None:
    root = copied("v30_video")
    write(root / TOP, options | {"crf": "1"}, form)
    # 2 of 255: rounding of YUV; frames are 5 apart
    np.testing.assert_allclose(levels(opened(root, cameras=("top",))), LEVELS, atol=2)


def test_a_video_may_start_late(copied: Any, opened: Any) -> None:
    root = copied("v30_video")
    write(root / TOP, {"bf": "2", "crf": "1"}, ticks=[100 * k + 700 for k in range(COUNT)])
    np.testing.assert_allclose(levels(opened(root, cameras=("top",))), LEVELS, atol=2)


def test_times_may_vary_by_less_than_half_a_frame(copied: Any, opened: Any) -> None:
    root = copied("v30_video")
    shifts = np.random.default_rng(0).integers(0, 40, COUNT)
    ticks = (100 * np.arange(COUNT) + shifts - shifts[0]).clip(0).tolist()
    write(root / TOP, {"bf": "2", "crf": "1"}, ticks=ticks)
    np.testing.assert_allclose(levels(opened(root, cameras=("top",))), LEVELS, atol=2)


def test_a_dropped_frame_is_named(copied: Any, opened: Any) -> None:
    root = copied("v30_video")
    ticks = [100 * k + (100 if k >= 15 else 0) for k in range(COUNT)]
    write(root / TOP, {"bf": "0"}, ticks=ticks)
    with pytest.raises(UserError) as caught:
        opened(root, cameras=("top",)).recorded()
    assert f"{root / TOP}: episode_000001: camera 'top': frame 3: is at " in str(caught.value)
