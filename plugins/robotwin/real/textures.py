"""Patterns that ``random_background`` of RoboTwin puts on table and wall.

Each is the sum of a few waves, between two colours. Demonstrations and scenes show the ``seen``
ones, evaluations the ``unseen`` ones.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COUNTS = {"seen": 200, "unseen": 50}
PIXELS = 128
WAVES = 6


def write_textures(folder: Path) -> None:
    """Write PNG files with the names that RoboTwin expects, ``seen/0.png`` and so on."""
    rng = np.random.default_rng(0)
    for kind, count in COUNTS.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(pattern(rng)).save(folder / kind / f"{number}.png")


def pattern(rng: np.random.Generator) -> NDArray[Any]:
    """Return an image (PIXELS, PIXELS, 3) uint8 that can be repeated without seams."""
    row, column = np.mgrid[:PIXELS, :PIXELS] * (2 * math.pi / PIXELS)
    waves = rng.integers(-12, 13, (WAVES, 2))
    phases, sizes = rng.uniform(0, 2 * math.pi, WAVES), rng.uniform(0.2, 1, WAVES)
    height = sum(
        size * np.sin(down * row + right * column + phase)
        for (down, right), phase, size in zip(waves, phases, sizes, strict=True)
    )
    share = 1 / (1 + np.exp(-rng.uniform(1, 6) * height))[..., None]
    one, other = rng.uniform(0, 255, (2, 3))
    return (share * one + (1 - share) * other).astype(np.uint8)
