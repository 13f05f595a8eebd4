"""What the backbones see: frames of a demonstration above its tokens as colours.

Shapes: F = frames shown, V = cameras, N = patches, C = channels, h w = token grid, H W = pixels
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.episode_store import read_episode
from ..errors import UserError
from ..features.reader import tokens_of
from ..interfaces import Episode
from ..store.group_reader import read_group
from .blocks import Block, Cell, Heading, Image, Paragraph, Table, note
from .keypoints import draw_keypoints, keypoints
from .media import png
from .stage_results import Stages

FRAMES_SHOWN = 5


def tables(runs: Path, samples: Mapping[str, Any], stages: Stages) -> Iterator[Block]:
    """Yield a table per camera: frames of a stored episode, keypoints, each backbone's tokens.

    ``samples`` has the paths, relative to ``runs``, of the ``episode`` and of each backbone's
    ``features`` of it. Features that cannot be read become a note.
    """
    episode = read_episode(runs / samples["episode"])
    steps = sorted({round(i) for i in np.linspace(0, episode.rgb.shape[0] - 1, FRAMES_SHOWN)})
    images: dict[str, Any] = {"frame": np.stack([episode.rgb[t] for t in steps])}
    yield Paragraph(
        "Frames of one demonstration and the first three principal components of each backbone's"
        f" tokens as colours. {episode.name}: {episode.instruction}"
    )
    features = {name: runs / path for name, path in samples.get("features", {}).items()}
    try:
        found = keypoints(stages, features, steps)
    except UserError as err:
        found = None
        yield note(f"keypoints: {err}")
    if found is not None:
        yield Paragraph("Keypoints: the positions at which each of the aligner's maps looks.")
        images["keypoints"] = [
            [draw_keypoints(*camera) for camera in zip(*frame, strict=True)]
            for frame in zip(images["frame"], found, strict=True)
        ]
    for name, path in features.items():
        try:
            images[name] = _token_colours(path, episode, steps)
        except UserError as err:
            yield note(f"{name}: {err}")
    for v, camera in enumerate(episode.cameras):
        yield Heading(camera)
        yield _camera_table(v, steps, images)


def _token_colours(path: Path, episode: Episode, steps: Sequence[int]) -> NDArray[np.uint8]:
    group = read_group(path)
    if "tokens" not in group or "grid" not in group.attributes:
        raise UserError(f"{path}: has no tokens with a grid; delete it and run again")
    tokens_TVNC, (rows, columns) = tokens_of(group), group.attributes["grid"]
    if tokens_TVNC.shape[:2] != episode.rgb.shape[:2] or tokens_TVNC.shape[2] != rows * columns:
        raise UserError(
            f"{path}: tokens do not fit episode {episode.name}; delete it and run again"
        )
    return pca_rgb(tokens_TVNC[list(steps)], (rows, columns))


def _camera_table(v: int, steps: Sequence[int], images: Mapping[str, Any]) -> Table:
    height, width = images["frame"].shape[2:4]  # a token grid covers the entire frame
    rows: list[list[Cell]] = [
        [
            name,
            *(
                Image(png(image_VHW3[v]), f"{name}, step {t}", width, height)
                for t, image_VHW3 in zip(steps, of_steps, strict=True)
            ),
        ]
        for name, of_steps in images.items()
    ]
    return Table(("", *(f"step {t}" for t in steps)), rows, "images")


def pca_rgb(tokens_FVNC: NDArray[np.floating], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the first three principal components of all tokens as colours (F, V, h, w, 3).

    All frames and cameras share one basis and one range: equal colours are similar tokens.
    """
    tokens = np.asarray(tokens_FVNC, np.float64)
    flat = tokens.reshape(-1, tokens.shape[-1])
    flat = flat - flat.mean(0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    parts = flat @ axes
    low, high = np.percentile(parts, [2, 98], axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours = np.zeros((len(flat), 3))
    colours[:, : scaled.shape[1]] = scaled  # missing components stay dark
    shape = (*tokens.shape[:2], *grid, 3)
    return (colours * 255).round().astype(np.uint8).reshape(shape)
