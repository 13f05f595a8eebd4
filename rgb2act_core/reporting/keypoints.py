"""The aligner's keypoints, drawn on frames.

Shapes: F = frames, V = cameras, J = keypoints of a camera, H W = pixels
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..features.reader import tokens_of
from ..store.group_reader import read_group
from ..store.stage_id import Stage, StageId
from .stage_results import Stages

DRAWN_WIDTH = 240  # pixels; smaller frames are enlarged
RADIUS = 4


def keypoints(
    stages: Stages, features: Mapping[str, Path], steps: Sequence[int]
) -> NDArray[np.floating] | None:
    """Return the keypoints (F, V, J, 2) of an episode's frames, rows and columns from -1 to 1.

    ``features`` are the folders of the episode's tokens by backbone. None if the run has no
    trained aligner with keypoints. Raises UserError if its files cannot be read.
    """
    align = stages.get(StageId(Stage.ALIGN))
    return None if align is None else aligner_keypoints(align.folder, features, steps)


def aligner_keypoints(
    folder: Path, features: Mapping[str, Path], steps: Sequence[int]
) -> NDArray[np.floating] | None:
    """Return the keypoints (F, V, J, 2) that the aligner in ``folder`` finds; None without any."""
    if not (folder / "aligner.json").exists():
        return None
    import torch

    from ..alignment.keypoints import keypoints_of
    from ..alignment.saving import load_aligner

    aligner = load_aligner(folder)
    if not set(aligner.config.backbones) <= set(features):
        return None
    groups = [read_group(features[label]) for label in aligner.config.backbones]
    tokens = [torch.from_numpy(np.asarray(tokens_of(group)[list(steps)])) for group in groups]
    found = keypoints_of(aligner, tokens)
    return None if found is None else found.numpy()


def draw_keypoints(
    image_HW3: NDArray[np.uint8], keypoints_J2: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Return the image, at least ``DRAWN_WIDTH`` wide, with a coloured circle per keypoint."""
    scale = max(1, -(-DRAWN_WIDTH // image_HW3.shape[1]))
    large = Image.fromarray(np.ascontiguousarray(image_HW3.repeat(scale, 0).repeat(scale, 1)))
    canvas = ImageDraw.Draw(large)
    for (row, column), colour in zip(
        keypoints_J2, keypoint_colours(len(keypoints_J2)), strict=True
    ):
        x, y = (column + 1) / 2 * large.width, (row + 1) / 2 * large.height
        box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        canvas.ellipse(box, fill=colour, outline="white")
    return np.asarray(large)


def keypoint_colours(count: int) -> list[tuple[int, int, int]]:
    """Return one colour per keypoint, spread over the hues."""
    parts = [colorsys.hsv_to_rgb(i / max(count, 1), 0.85, 0.95) for i in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in parts]
