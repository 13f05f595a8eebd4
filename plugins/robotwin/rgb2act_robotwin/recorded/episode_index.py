"""Find episodes on disk; their paths name task, configuration, robot and episode number.

legacy           <task>/<config>/data/episode0.hdf5
head, converted  <config>/<task>/<robot>/data/episode_0000000.hdf5
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from rgb2act_core import UserError, check_within, read_regular

from ..config import SEGMENTS
from ..tasks import EMBODIMENTS, TASKS

SUFFIXES = (".hdf5", ".h5")
DEPTH = 6  # levels of folders that are searched
IGNORED = {"_traj_data", "video", "instruction", "instructions", "__pycache__"}


@attrs.frozen(kw_only=True)
class IndexEntry:
    """The file of one episode, and what its path names."""

    path: Path
    number: int
    prefix: str = ""  # of the name, where several folders have the same task and configuration

    @property
    def folder(self) -> Path:
        """The folder with ``data``, the instructions and the seeds."""
        parent = self.path.parent
        return parent.parent if parent.name == "data" else parent

    @property
    def named(self) -> bool:
        """Whether the path follows RoboTwin's folder structure."""
        return self.path.parent.name == "data"

    @property
    def newer(self) -> bool:
        """Whether the path is of the newer layout, by its last folder or the name of the file."""
        return _is_robot(self.folder.name, EMBODIMENTS) or bool(
            re.fullmatch(r"episode_\d{7}", self.path.stem)
        )

    @property
    def task(self) -> str:
        """The task that the path names, or an empty string."""
        return self.folder.parent.name if self.named else ""

    @property
    def config(self) -> str:
        """The configuration that the path names, such as demo_clean."""
        if not self.named:
            return self.folder.name
        return self.folder.parent.parent.name if self.newer else self.folder.name

    @property
    def embodiment(self) -> str:
        """The robot that the path names, or an empty string."""
        return self.folder.name if self.named and self.newer else ""

    @property
    def name(self) -> str:
        """The name of the episode, unique within a data set."""
        return f"{self.prefix or self.config}-episode_{self.number:07d}"


def find_episodes(data: Path) -> list[IndexEntry]:
    """Return the episodes at or below a path, sorted by folder and number.

    Raises UserError if the path does not exist or has no episode.
    """
    data = data.resolve()
    if "_traj_data" in data.parts or data.suffix == ".pkl":
        raise UserError(f"{data}: has no actions: {SEGMENTS}")
    if not data.exists():
        raise UserError(f"{data}: no such file or folder; give a folder with episodes")
    files = [data] if data.is_file() else sorted(_files(data, DEPTH))
    for path in files:
        check_within(path, data)
    entries = [
        IndexEntry(path=path, number=int(numbers[-1]))
        for path in files
        if path.suffix in SUFFIXES and (numbers := re.findall(r"\d+", path.stem))
    ]
    if not entries:
        raise UserError(
            f"{data}: 0 episodes: found no episode0.hdf5 or episode_0000000.hdf5 in it or below;"
            " give the folder that contains data/, or record episodes first"
        )
    entries.sort(key=lambda entry: (str(entry.folder), entry.number, str(entry.path)))
    _check_numbers(entries)
    return _make_names_unique(entries, data)


def _make_names_unique(entries: list[IndexEntry], data: Path) -> list[IndexEntry]:
    """Prefix names with the folder below ``data`` where several folders would share names."""
    folders: dict[tuple[str, str], set[Path]] = {}
    for entry in entries:
        folders.setdefault((entry.task, entry.config), set()).add(entry.folder)
    return [
        attrs.evolve(entry, prefix="-".join(entry.folder.relative_to(data).parts))
        if len(folders[entry.task, entry.config]) > 1
        else entry
        for entry in entries
    ]


def is_robotwin(data: Path) -> bool:
    """Return whether a path has files with the names and folders of RoboTwin's episodes."""
    files = [data] if data.is_file() else _files(data.resolve(), DEPTH) if data.is_dir() else ()
    return any(
        path.suffix in SUFFIXES
        and path.parent.name == "data"
        and re.match(r"episode_?\d", path.name) is not None
        for path in files
    )


def ignored_files(data: Path) -> Iterator[tuple[Path, str]]:
    """Yield files at or below a path that look like episodes but are not read, and the remedy."""
    if data.is_file():
        return
    for path in sorted(_files(data.resolve(), DEPTH, links=True)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.is_symlink() and not path.exists():
            yield path, "is a link to a missing file; restore the file or remove the link"
        elif path.suffix not in SUFFIXES:
            yield path, f"is not read: its suffix is {path.suffix}; rename it to .hdf5"
        elif not re.search(r"\d", path.stem):
            yield path, "is not read: its name has no number; rename it, as in episode0.hdf5"


def select_task(entries: list[IndexEntry], task: str, embodiment: str) -> list[IndexEntry]:
    """Return the episodes of a task and robot; raise UserError with the available ones if none.

    Episodes in a folder that is not named after a task of RoboTwin count as the requested task.
    """
    named = [p for p in entries if p.task == task]
    if not named:
        others = sorted({p.task for p in entries if p.task in TASKS})
        named = [p for p in entries if p.task not in TASKS]
        if not named:
            raise UserError(
                f"robotwin.task: {task!r} is not in the data, which has {', '.join(others)};"
                " set task to one of these, or data to another folder"
            )
    robots = {p.embodiment for p in named if _is_robot(p.embodiment, EMBODIMENTS)}
    if robots and not _is_robot(embodiment, tuple(robots)):
        raise UserError(
            f"robotwin.embodiment: {embodiment!r} is not in the data, which has"
            f" {', '.join(sorted(robots))}; set embodiment to one of these"
        )
    if len(robots) > 1:
        named = [p for p in named if _is_robot(p.embodiment, (embodiment,))]
    return named


def missing_numbers(entries: list[IndexEntry]) -> list[int]:
    """Return the missing episode numbers of one folder, up to the last file or the last seed."""
    found = {entry.number for entry in entries}
    return sorted(set(range(max(max(found) + 1, _seeds(entries[0].folder)))) - found)


def _seeds(folder: Path) -> int:
    """Return the number of seeds in ``seed.txt``; 0 if it cannot be read."""
    try:
        return len(read_regular(folder / "seed.txt").decode().split())
    except (OSError, UnicodeDecodeError):
        return 0


def _files(folder: Path, depth: int, links: bool = False) -> Iterator[Path]:
    """Yield the files in a folder and below; with ``links``, also links to missing files."""
    try:
        entries = sorted(path for path in folder.iterdir() if not _is_ignored(path.name))
        files = {path for path in entries if path.is_file()}
        folders = {path for path in entries if path.is_dir()}
    except OSError as err:
        raise UserError(
            f"{folder}: cannot be read ({str(err.strerror).lower()}); allow reading and entering it"
        ) from err
    for path in entries:
        if path in files or (links and path.is_symlink() and path not in folders):
            yield path
        elif depth and path in folders:
            yield from _files(path, depth - 1, links)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED


def _check_numbers(entries: list[IndexEntry]) -> None:
    for one, two in itertools.pairwise(entries):
        if (one.folder, one.number) == (two.folder, two.number):
            raise UserError(
                f"{two.path}: is episode {two.number} as well as {one.path}; remove or rename one"
            )


def _is_robot(name: str, known: tuple[str, ...]) -> bool:
    """Return whether a robot is one of ``known``; folders have _ where configs have -."""
    return name.lower().replace("_", "-") in {k.lower().replace("_", "-") for k in known}
