"""Find episodes on disk, and what their places say: task, configuration, robot, number.

legacy           <task>/<config>/data/episode0.hdf5
head, converted  <config>/<task>/<robot>/data/episode_0000000.hdf5
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from rgb2act_core.errors import UserError

from ..config import SEGMENTS
from ..tasks import EMBODIMENTS, TASKS

SUFFIXES = (".hdf5", ".h5")
DEPTH = 6  # folders below the given one
IGNORED = {"_traj_data", "video", "instruction", "instructions", "__pycache__"}


@attrs.frozen(kw_only=True)
class Place:
    """Say where one episode lies and what its path tells."""

    path: Path
    number: int
    among: str = ""  # tells folders of one task and configuration apart

    @property
    def folder(self) -> Path:
        """Return the folder that holds ``data``, instructions and seeds of the episodes."""
        parent = self.path.parent
        return parent.parent if parent.name == "data" else parent

    @property
    def named(self) -> bool:
        """Return whether the path is one of RoboTwin's own, which names its parts."""
        return self.path.parent.name == "data"

    @property
    def newer(self) -> bool:
        """Return whether the path is the newer layout's, by its last folder or the file's name."""
        return _same(self.folder.name, EMBODIMENTS) or bool(
            re.fullmatch(r"episode_\d{7}", self.path.stem)
        )

    @property
    def task(self) -> str:
        """Return the task that the path names, or nothing."""
        return self.folder.parent.name if self.named else ""

    @property
    def config(self) -> str:
        """Return the configuration that the path names, such as demo_clean."""
        if not self.named:
            return self.folder.name
        return self.folder.parent.parent.name if self.newer else self.folder.name

    @property
    def embodiment(self) -> str:
        """Return the robot that the path names, or nothing."""
        return self.folder.name if self.named and self.newer else ""

    @property
    def name(self) -> str:
        """Return the episode's name within its configuration."""
        return f"{self.among or self.config}-episode_{self.number:07d}"


def find(data: Path) -> list[Place]:
    """Return the episodes at or below a path, by folder and number.

    UserError when there is nothing there, or none of it is an episode.
    """
    data = data.resolve()
    if "_traj_data" in data.parts or data.suffix == ".pkl":
        raise UserError(f"{data}: cannot give actions: {SEGMENTS}")
    if not data.exists():
        raise UserError(f"{data}: no such file or folder; name a folder with episodes")
    files = [data] if data.is_file() else sorted(_files(data, DEPTH))
    places = [
        Place(path=path, number=int(numbers[-1]))
        for path in files
        if path.suffix in SUFFIXES and (numbers := re.findall(r"\d+", path.stem))
    ]
    if not places:
        raise UserError(
            f"{data}: 0 episodes: there is no episode0.hdf5 or episode_0000000.hdf5 in it or below;"
            " name the folder that holds data/, or record episodes first"
        )
    places.sort(key=lambda place: (str(place.folder), place.number, str(place.path)))
    _check_numbers(places)
    return _distinguish(places, data)


def _distinguish(places: list[Place], data: Path) -> list[Place]:
    """Name episodes by their folders below ``data`` where several folders would share names."""
    folders: dict[tuple[str, str], set[Path]] = {}
    for place in places:
        folders.setdefault((place.task, place.config), set()).add(place.folder)
    return [
        attrs.evolve(place, among="-".join(place.folder.relative_to(data).parts))
        if len(folders[place.task, place.config]) > 1
        else place
        for place in places
    ]


def choose(places: list[Place], task: str, embodiment: str) -> list[Place]:
    """Return the episodes of a task and robot; UserError that says what there is instead.

    A folder whose name is no task of RoboTwin says nothing about the task.
    """
    named = [p for p in places if p.task == task]
    if not named:
        others = sorted({p.task for p in places if p.task in TASKS})
        named = [p for p in places if p.task not in TASKS]
        if not named:
            raise UserError(
                f"robotwin.task: {task!r} is not in the data, which holds {', '.join(others)};"
                " set task to one of these, or data to another folder"
            )
    robots = {p.embodiment for p in named if _same(p.embodiment, EMBODIMENTS)}
    if robots and not _same(embodiment, tuple(robots)):
        raise UserError(
            f"robotwin.embodiment: {embodiment!r} is not in the data, which holds"
            f" {', '.join(sorted(robots))}; set embodiment to one of these"
        )
    if len(robots) > 1:
        named = [p for p in named if _same(p.embodiment, (embodiment,))]
    return named


def gaps(places: list[Place]) -> list[int]:
    """Return the numbers that are missing in one folder, up to the last, or the last seed."""
    found = {place.number for place in places}
    return sorted(set(range(max(max(found) + 1, _seeds(places[0].folder)))) - found)


def _seeds(folder: Path) -> int:
    """Return how many seeds the collector accepted; 0 when it does not say."""
    try:
        return len((folder / "seed.txt").read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return 0


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as err:
        raise UserError(f"{folder}: cannot be read ({err.strerror}); give it read access") from err
    for path in entries:
        if path.name.startswith(".") or path.name in IGNORED:
            continue
        if path.is_file():
            yield path
        elif depth and path.is_dir():
            yield from _files(path, depth - 1)


def _check_numbers(places: list[Place]) -> None:
    for one, two in itertools.pairwise(places):
        if (one.folder, one.number) == (two.folder, two.number):
            raise UserError(
                f"{two.path}: is episode {two.number}, as is {one.path}; remove or rename one"
            )


def _same(name: str, known: tuple[str, ...]) -> bool:
    """Return whether a robot's name is known; folders write _ where configs write -."""
    return name.lower().replace("_", "-") in {k.lower().replace("_", "-") for k in known}
