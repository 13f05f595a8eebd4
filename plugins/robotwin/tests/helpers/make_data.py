"""Reduce RoboTwin's own recordings to the test data: ``make_data.py LEGACY HEAD``.

LEGACY and HEAD are HDF5 files that RoboTwin's collector wrote. The first frames of each are kept as
they are, bytes of the JPEGs too; the legacy file's point clouds lose all but each fourth point.
Two made-up episodes for the component's tiny config go into the package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from robotwin_episodes import write_legacy

TINY = Path(__file__).parents[2] / "rgb2act_robotwin" / "tiny"
PLACE = Path(__file__).parents[1] / "data"
FRAMES = slice(53, 58)  # frames 55 and 56 repeat the joints of frame 54
POINTS = slice(None, None, 4)
LEGACY = PLACE / "beat_block_hammer" / "demo_cpu" / "data" / "episode0.hdf5"
HEAD = PLACE / "demo_new" / "beat_block_hammer" / "aloha_agilex" / "data" / "episode_0000000.hdf5"
DROPPED = ("front_camera", "right_camera", "cam_third_view", "cam_right_wrist")


def cut(source: Path, target: Path) -> None:
    """Write the chosen frames of one file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        old.visititems(lambda name, item: _copy(new, name, item))


def _copy(new: h5py.File, name: str, item: Any) -> None:
    if not isinstance(item, h5py.Dataset) or any(part in DROPPED for part in name.split("/")):
        return
    values = item[()]
    if item.ndim and len(item) > 10:
        values = values[FRAMES]
        if name == "pointcloud":
            values = values[:, POINTS]
        if values.dtype.kind == "S":
            values = values.astype(f"S{max(map(len, values))}")
    if name == "instructions":
        values = b'["Beat the block with the hammer.", "Hit the block."]'
    new.create_dataset(name, data=np.asarray(values) if item.ndim else values)


if __name__ == "__main__":
    cut(Path(sys.argv[1]), LEGACY)
    cut(Path(sys.argv[2]), HEAD)
    for number in range(2):
        write_legacy(TINY, number, rows=4, cameras=("head_camera",))
