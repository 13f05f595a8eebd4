"""Show what backbones see: frames of a demonstration beside its tokens as colours.

Shapes: T = steps of the episode, V = cameras, N = patches, C = channels, H W = pixels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..data.episode_store import read_episode
from ..errors import UserError
from ..features.reader import tokens_of
from ..interfaces import Episode
from ..store.group_writer import read_group
from . import charts
from .html import muted, note, table

FRAMES_SHOWN = 5


def show(runs: Path, places: Mapping[str, Any]) -> str:
    """Return frames of a stored episode over the colours of its features, camera by camera.

    ``places`` has the paths, relative to ``runs``, of ``episode`` and of each backbone's entry in
    ``features``; an entry that cannot be read becomes a note.
    """
    episode = read_episode(runs / places["episode"])
    length = episode.rgb.shape[0]
    steps = sorted({round(i) for i in np.linspace(0, length - 1, FRAMES_SHOWN)})
    shown: dict[str, Any] = {"frame": np.stack([episode.rgb[t] for t in steps])}
    notes = ""
    for name, place in places.get("features", {}).items():
        try:
            shown[name] = _colours(runs / place, episode, steps)
        except UserError as err:
            notes += note(f"{name}: {err}")
    text = (
        "Frames of one demonstration beside the three main components of each backbone's tokens"
        f" as colours. {episode.name}: {episode.instruction}"
    )
    tables = [_camera(name, v, steps, shown) for v, name in enumerate(episode.cameras)]
    return muted(text) + notes + "".join(tables)


def _colours(path: Path, episode: Episode, steps: Sequence[int]) -> Any:
    group = read_group(path)
    if "tokens" not in group or "grid" not in group.attributes:
        raise UserError(f"{path}: holds no tokens with a grid; delete it and run again")
    tokens_TVNC, (rows, columns) = tokens_of(group), group.attributes["grid"]
    if tokens_TVNC.shape[:2] != episode.rgb.shape[:2] or tokens_TVNC.shape[2] != rows * columns:
        raise UserError(
            f"{path}: tokens do not fit episode {episode.name}; delete it and run again"
        )
    return charts.pca_rgb(tokens_TVNC[list(steps)], (rows, columns))


def _camera(camera: str, v: int, steps: Sequence[int], shown: Mapping[str, Any]) -> str:
    height, width = shown["frame"].shape[2:4]
    shape = f'style="aspect-ratio: {width} / {height}"'  # a token grid covers the whole frame
    rows = [
        [
            escape(name),
            *(
                f'<img {shape} alt="{escape(name)}, step {t}" src="{charts.png(image_VHW3[v])}">'
                for t, image_VHW3 in zip(steps, images, strict=True)
            ),
        ]
        for name, images in shown.items()
    ]
    pictures = table(("", *(f"step {t}" for t in steps)), rows, "wide pictures")
    return f"<h3>{escape(camera)}</h3>{pictures}"
