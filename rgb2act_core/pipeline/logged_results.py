"""What the loggers of a run receive of each stage: results, images and videos.

Shapes: V = cameras, N = patches, C = channels, h w = token grid, H W = pixels
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.episode_store import read_episode
from ..errors import UserError
from ..features.reader import tokens_of
from ..interfaces import LoggedStage
from ..store.group_reader import read_group
from ..store.keys import key_of
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage, StageId
from ..system.progress import say
from ..tracking.tracker import Tracker
from ..training import metrics_log


def send_stage(tracker: Tracker, stage: StageId, target: StageFolder) -> None:
    """Send a finished stage to the loggers that do not have it."""
    metrics = target.path / "metrics.jsonl"

    def rows() -> list[metrics_log.Row]:
        return metrics_log.read(metrics) if metrics.exists() else []

    def results() -> LoggedStage:
        values = dict(result_values(target.meta()["results"]))
        videos = sorted((target.path / "videos").glob("*.mp4"))
        return LoggedStage(
            name=stage.title, values=values, videos={path.stem: path for path in videos}
        )

    _add(tracker, stage.title, target.key, rows, results)


def send_features(tracker: Tracker, samples: Mapping[str, Any], root: Path) -> None:
    """Send a frame of a stored demonstration and each backbone's tokens of it as images."""
    if samples["episode"] is None:
        return

    def results() -> LoggedStage:
        images = dict(_feature_images(samples, root))
        return LoggedStage(name=str(Stage.EXTRACT), values={}, images=images)

    _add(tracker, str(Stage.EXTRACT), key_of(samples), list, results)


def send_keypoints(
    tracker: Tracker, samples: Mapping[str, Any], root: Path, aligner: StageFolder
) -> None:
    """Send the aligner's keypoints on a frame of a stored demonstration as images."""
    if samples["episode"] is None:
        return

    def results() -> LoggedStage:
        images = dict(_keypoint_images(samples, root, aligner.path))
        return LoggedStage(name="keypoints", values={}, images=images)

    _add(tracker, "keypoints", key_of({"samples": samples, "align": aligner.key}), list, results)


def _add(tracker: Tracker, name: str, key: str, rows: Any, results: Any) -> None:
    try:
        tracker.add(name, key, rows, results)
    except UserError as err:  # what cannot be logged stops no run
        say(f"warning: {name} is not logged: {err}")


def result_values(results: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the finite numbers in a stage's results with names such as ``after/retrieval@1``.

    A rate with an interval gives ``success_rate``, ``success_low`` and ``success_high``. Lists,
    such as the episodes, are left out.
    """
    if {"rate", "interval"} <= results.keys():
        low, high = results["interval"]
        yield from (
            (f"{path}success_{name}", float(value))
            for name, value in (("rate", results["rate"]), ("low", low), ("high", high))
        )
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from result_values(value, f"{path}{name}/")
        elif isinstance(value, int | float) and math.isfinite(value) and name != "rate":
            yield f"{path}{name}", float(value)


def _feature_images(samples: Mapping[str, Any], root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield PNG files of the middle frame of each camera, and of the tokens of each backbone."""
    from ..reporting.feature_maps import pca_rgb

    episode = read_episode(root / samples["episode"])
    step = episode.rgb.shape[0] // 2
    for camera, image_HW3 in zip(episode.cameras, episode.rgb[step], strict=True):
        yield f"{camera}/frame", _png(image_HW3)
    height, width = episode.rgb.shape[2:4]
    for label, path in samples["features"].items():
        group = read_group(root / path)
        if "tokens" not in group or "grid" not in group.attributes:
            continue
        tokens_VNC = np.asarray(tokens_of(group)[[step]])
        for camera, colours_hw3 in zip(
            episode.cameras, pca_rgb(tokens_VNC, group.attributes["grid"])[0], strict=True
        ):
            yield f"{camera}/{label}", _png(colours_hw3, (width, height))


def _keypoint_images(
    samples: Mapping[str, Any], root: Path, aligner: Path
) -> Iterator[tuple[str, bytes]]:
    """Yield a PNG file per camera: the middle frame with the aligner's keypoints."""
    from ..reporting.keypoints import aligner_keypoints, draw_keypoints

    episode = read_episode(root / samples["episode"])
    step = episode.rgb.shape[0] // 2
    features = {label: root / path for label, path in samples["features"].items()}
    found_FVJ2 = aligner_keypoints(aligner, features, [step])
    if found_FVJ2 is not None:
        for camera, image_HW3, found_J2 in zip(
            episode.cameras, episode.rgb[step], found_FVJ2[0], strict=True
        ):
            yield camera, _png(draw_keypoints(image_HW3, found_J2))


def _png(image_HW3: NDArray[np.uint8], size: tuple[int, int] | None = None) -> bytes:
    """Return a PNG file of an image; with ``size``, of nearest neighbours at that width, height."""
    from PIL import Image

    image, data = Image.fromarray(np.ascontiguousarray(image_HW3)), io.BytesIO()
    (image.resize(size, Image.Resampling.NEAREST) if size else image).save(data, "PNG")
    return data.getvalue()
