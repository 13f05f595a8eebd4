"""Boxes that ``cluttered_table`` of RoboTwin puts on the table beside a task's objects.

RoboTwin takes them from the same folder as the objects of tasks. Their y axis points up, and their
origin stands on the table. Lengths are metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from box_model import Box, write_model

NAME = "900_clutter"  # any name that begins with a number
COUNT = 16


def write_clutter(objects: Path) -> None:
    """Write boxes of different sizes and colours in the folder of RoboTwin's objects."""
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        width, depth = rng.uniform(0.03, 0.09, 2).tolist()
        height = rng.uniform(0.02, 0.1)
        red, green, blue = rng.uniform(0.05, 0.95, 3).tolist()
        centre = (0.0, height / 2, 0.0)
        box = Box("box", (width, height, depth), centre, (red, green, blue))
        write_model(objects / NAME, number, (box,), model_data(box))


def model_data(box: Box) -> dict[str, object]:
    """Return what RoboTwin reads of an object that no task uses."""
    return {
        "center": list(box.centre),
        "extents": list(box.size),
        "scale": [1, 1, 1],
        "stable": True,
    }
