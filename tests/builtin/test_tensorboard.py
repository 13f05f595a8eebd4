"""TensorBoard reads back what its logger wrote: each row once, results, spec, images, videos."""

from __future__ import annotations

import errno
import io
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rgb2act_core import Kind
from rgb2act_core.builtin.loggers import event_file
from rgb2act_core.builtin.loggers.config import TensorBoard
from rgb2act_core.builtin.loggers.tensorboard import TensorBoardLogger, gif
from rgb2act_core.data.video import write_mp4
from rgb2act_core.interfaces import LoggedRun, LoggedStage
from rgb2act_core.plugins.registry import find
from rgb2act_core.testing import Check, component_checks, fault


@pytest.fixture(autouse=True)
def one_second_per_event_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event files sort by the second they were opened in; resumed runs start seconds later."""
    clock = itertools.count(int(time.time()))

    class Clock:
        time = staticmethod(lambda: next(clock))

    monkeypatch.setattr(event_file, "time", Clock)


def log(
    folder: Path,
    steps: Sequence[int] = (),
    *stages: LoggedStage,
    spec: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Log rows of align and finished stages, as one process does."""
    folder.mkdir(exist_ok=True)
    logger = TensorBoardLogger(TensorBoard(**options))
    spec = {"seed": 3} if spec is None else spec
    text = "seed = 3\n"
    run = LoggedRun(name="r", id="0", folder=folder, root=folder, spec=spec, text=text)
    logger.start(run)
    for step in steps:
        logger.log_metrics("align", step, {"loss": step / 4})
    for stage in stages:
        logger.log_stage(stage)
    logger.finish(True)


@pytest.mark.parametrize(
    "check",
    component_checks(Kind.LOGGER, find(Kind.LOGGER, "tensorboard")),
    ids=str,
)
def test_conformance(check: Check) -> None:
    check()


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_each_row_is_shown_once_after_a_resume(tmp_path: Path) -> None:
    log(tmp_path, range(6))
    log(tmp_path, range(5))
    assert scalars(tmp_path / "align", "align/loss") == [(step, step / 4) for step in range(5)]


def test_a_running_tensorboard_drops_the_steps_after_the_checkpoint(tmp_path: Path) -> None:
    log(tmp_path, range(6))
    running = events(tmp_path / "align")
    log(tmp_path, range(4))
    running.Reload()
    assert [event.step for event in running.Scalars("align/loss")] == [0, 1, 2, 3]


def test_rows_are_on_disk_before_the_end(tmp_path: Path) -> None:
    logger = TensorBoardLogger(TensorBoard())
    run = LoggedRun(name="r", id="0", folder=tmp_path, root=tmp_path, spec={}, text="")
    logger.start(run)
    logger.log_metrics("train", 0, {"loss": 1.0})
    assert scalars(tmp_path / "train", "train/loss") == [(0, 1.0)]
    logger.finish(False)


@pytest.mark.parametrize("write", [1, 2, 3, 4])
def test_a_full_disk_raises_in_the_call_that_writes(tmp_path: Path, write: int) -> None:
    # an exception in a thread of TensorBoard would be a warning of pytest, and so an error
    stage = LoggedStage(name="act", values={"success_rate": 0.5})
    full = fault(tmp_path, "write", nth=write, error=errno.ENOSPC)
    with full, pytest.raises(OSError, match="No space left on device"):
        log(tmp_path, [0], stage)


def test_results_and_spec_are_shown_once_after_a_resume(tmp_path: Path) -> None:
    log(tmp_path, [], LoggedStage(name="train", values={"loss": 0.5}))
    log(tmp_path, [], LoggedStage(name="act", values={"success_rate": 0.25}))
    assert scalars(tmp_path, "results/train/loss") == [(0, 0.5)]
    assert scalars(tmp_path, "results/act/success_rate") == [(0, 0.25)]
    (text,) = events(tmp_path).Tensors("spec/text_summary")
    assert text.tensor_proto.string_val[0] == b"```toml\nseed = 3\n```"


def test_the_spec_is_in_the_table_of_hyperparameters(tmp_path: Path) -> None:
    log(tmp_path, spec={"seed": 3, "policy.condition": "aligned", "act.replay": False})
    content = events(tmp_path).PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["seed"].number_value == 3
    assert found["policy.condition"].string_value == "aligned"
    assert found["act.replay"].number_value == 0


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (6, 4), (255, 0, 0)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "seed_0000007.mp4"
    write_mp4(path, np.zeros((9, 16, 32, 3), np.uint8), 10.0)
    return path


def test_images_and_videos_are_shown(tmp_path: Path, video: Path) -> None:
    stage = LoggedStage(name="act", values={}, images={"front": png()}, videos={"seed": video})
    log(tmp_path / "all", [], stage)
    (image,) = events(tmp_path / "all").Images("act/front")
    assert (image.width, image.height, image.encoded_image_string) == (6, 4, png())
    (animation,) = events(tmp_path / "all").Images("act/seed")
    assert animation.encoded_image_string.startswith(b"GIF89a")
    assert (animation.width, animation.height) == (32, 16)
    log(tmp_path / "none", [], stage, images=False, video_frames=0)
    assert events(tmp_path / "none").Tags()["images"] == []


def test_a_video_with_too_many_frames_is_thinned_and_keeps_its_duration(video: Path) -> None:
    with Image.open(io.BytesIO(gif(video, 3))) as image:
        # equal frames are stored as one with the sum of their durations: 9 frames at 10 per second
        assert image.info["duration"] * getattr(image, "n_frames", 1) == 900
