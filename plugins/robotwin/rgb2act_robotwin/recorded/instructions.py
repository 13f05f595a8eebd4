"""What an episode's files tell the robot to do, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rgb2act_core.errors import UserError

from ..config import Robotwin
from . import hdf5
from .episode_index import Place
from .layouts import Layout


def instructions(place: Place, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Return what an episode's files tell the robot, seen and unseen; either may be empty."""
    found: dict[str, tuple[str, ...]] = {"seen": (), "unseen": ()}
    for path in _sidecars(place):
        if path.is_file():
            found |= _from_json(path)
    for key in layout.texts:
        if not found["seen"] and (held := hdf5.text(place.path, key)):
            found["seen"] = tuple(_spoken(held))
    return found


def instruction(place: Place, layout: Layout, config: Robotwin) -> str:
    """Return the instruction of the kind that the config asks for; else the task's words."""
    known = instructions(place, layout)[config.instructions]
    return known[place.number % len(known)] if known else config.task.replace("_", " ")


def _sidecars(place: Place) -> Iterator[Path]:
    for folder in ("instructions", "instruction"):
        for name in (f"episode{place.number}.json", f"{place.path.stem}.json"):
            yield place.folder / folder / name


def _from_json(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise UserError(f"{path}: is no JSON ({hdf5.first(err)}); mend or remove it") from None
    if not isinstance(held, dict):
        return {"seen": tuple(_texts(held))}
    return {kind: tuple(_texts(held[kind])) for kind in ("seen", "unseen") if kind in held}


def _spoken(held: str | list[str]) -> list[str]:
    """Return the texts of a dataset: a list, JSON of a list, or a text itself."""
    if isinstance(held, list):
        return _texts(held)
    try:
        return _texts(json.loads(held))
    except (ValueError, RecursionError):
        return _texts(held)


def _texts(held: Any) -> list[str]:
    items = held if isinstance(held, list) else [held]
    return [item for item in items if isinstance(item, str) and item]
