"""HDF5 files of ALOHA and ACT: one file per episode.

``/observations/qpos``, ``/observations/qvel`` and ``/action`` are numbers, and
``/observations/images/CAMERA`` are images: uint8 (R, H, W, 3), or with the attribute ``compress``
JPEGs that are padded with zeros (R, bytes). The attribute ``sim`` marks a simulation. Source:
https://github.com/tonyzhaozh/act and https://github.com/MarkFzp/act-plus-plus
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import attrs

from rgb2act_core import UserError, file_digest
from rgb2act_core.recordings import hdf5

from .data_set import Array
from .hdf5_arrays import SUFFIXES, arrays_of, number_of

QPOS, ACTION = "observations/qpos", "action"
NAMES = tuple(
    f"{arm}_{joint}"
    for arm in ("left", "right")
    for joint in (
        "waist",
        "shoulder",
        "elbow",
        "forearm_roll",
        "wrist_angle",
        "wrist_rotate",
        "gripper",
    )
)
HZ = 50.0  # of the robot and of the simulation (constants.py: DT = 0.02)


@attrs.frozen(kw_only=True)
class AlohaFiles:
    """Episodes of ALOHA; implements ``DataSet``."""

    path: Path
    files: Mapping[str, Path]
    layout: str = "ALOHA HDF5"
    rate: float | None = HZ
    unread: Mapping[str, str] = attrs.field(factory=dict)
    action: str = ACTION
    controller: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(self.files)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the files whose number is missing below the highest one."""
        numbers = {number_of(name)[0] for name in self.files}
        if not self.path.is_dir():
            return ()
        highest = min(max(numbers), len(numbers) + 1000)
        return tuple(f"episode_{i}" for i in range(highest) if i not in numbers)

    @property
    def task(self) -> str:
        """The name of the folder or file."""
        return self.path.resolve().stem

    def usual_joints(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return ``qpos``."""
        return ("qpos",)

    def filtered(self, name: str) -> tuple[str, ...]:
        """Raise UserError: the format has no filters."""
        raise UserError(f"recordings.filter: {self.path} has no filters; remove the key {name!r}")

    def file(self, name: str) -> Path:
        """Return the file of an episode."""
        return self.files[name]

    def text(self, name: str) -> str:
        """Return nothing: the format records no text."""
        return ""

    def arrays(self, name: str) -> Mapping[str, Array]:
        """Return the observations, the cameras and the actions of an episode."""
        path = self.files[name]
        with hdf5.open_file(path):
            hdf5.array_info(path, QPOS)  # names a missing key
            hdf5.array_info(path, ACTION)
            return {
                **arrays_of(path, "observations"),
                **arrays_of(path, "observations/images", encoded=True),
                **arrays_of(path, "/"),
            }

    def digest(self, name: str, keys: Collection[str]) -> str:
        """Return the digest of the file."""
        return file_digest(self.files[name])

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield where the episodes were recorded, and how their images are stored."""
        marks, packed = set(), set()
        for path in self.files.values():
            try:
                marks.add(bool(hdf5.read_attribute(path, "/", "sim")))
                packed.add(bool(hdf5.read_attribute(path, "/", "compress")))
            except UserError:  # reading the episode reports it
                continue
        places = {True: "a simulation", False: "a robot"}
        yield "recorded in", " and ".join(places[mark] for mark in sorted(marks))
        stored = {True: "JPEG", False: "uncompressed"}
        yield "images", " and ".join(stored[mark] for mark in sorted(packed))


def open_data_set(path: Path) -> AlohaFiles | None:
    """Return the episodes in a folder, or the one in a file; None if there is none of ALOHA."""
    found = path.glob("episode_*") if path.is_dir() else [path]
    files = {file.stem: file for file in found if file.suffix in SUFFIXES}
    files = {name: files[name] for name in sorted(files, key=number_of)}
    if not any(_is_aloha(file) for file in files.values()):
        return None
    return AlohaFiles(path=path, files=files)


def _is_aloha(path: Path) -> bool:
    try:
        with hdf5.open_file(path) as file:
            return QPOS in file and ACTION in file
    except (UserError, OSError):
        return False
