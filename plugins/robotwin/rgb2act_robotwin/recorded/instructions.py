"""Language instructions of an episode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rgb2act_core import UserError, first_line, parse_json, read_regular
from rgb2act_core.recordings import hdf5

from ..config import Robotwin
from .episode_index import IndexEntry
from .layouts import Layout


def read_instructions(entry: IndexEntry, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Return the ``seen`` and the ``unseen`` instructions of an episode; either may be empty."""
    found: dict[str, tuple[str, ...]] = {"seen": (), "unseen": ()}
    for path in _sidecars(entry):
        if path.is_file():
            found |= _from_json(path)
    for key in layout.texts:
        if not found["seen"] and (stored := hdf5.read_text(entry.path, key)):
            found["seen"] = tuple(_parse(stored))
    return found


def choose_instruction(entry: IndexEntry, layout: Layout, config: Robotwin) -> str:
    """Return the instruction of an episode, of the config's kind; else the words of the task."""
    known = read_instructions(entry, layout)[config.instructions]
    return known[entry.number % len(known)] if known else config.task.replace("_", " ")


def _sidecars(entry: IndexEntry) -> Iterator[Path]:
    for folder in ("instructions", "instruction"):
        for name in (f"episode{entry.number}.json", f"{entry.path.stem}.json"):
            yield entry.folder / folder / name


def _from_json(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        value = parse_json(read_regular(path))
    except (OSError, ValueError) as err:
        raise UserError(
            f"{path}: is not valid JSON ({first_line(err)}); fix or remove it"
        ) from None
    if not isinstance(value, dict):
        return {"seen": tuple(_texts(value))}
    return {kind: tuple(_texts(value[kind])) for kind in ("seen", "unseen") if kind in value}


def _parse(value: str | list[str]) -> list[str]:
    """Return the texts of an HDF5 array: a list, a JSON list, or one text."""
    if isinstance(value, list):
        return _texts(value)
    try:
        return _texts(parse_json(value))
    except ValueError:
        return _texts(value)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
