"""Where the point clouds of recorded episodes come from, and the same for the simulator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import attrs

from rgb2act_core import UserError

from ..config import Robotwin
from .episode_index import IndexEntry
from .episode_reader import cameras_with_depth
from .layouts import layout_of

Source = tuple[str, ...]  # ("none",), ("files",), ("stored",), or ("depth", *cameras)


def sources(entries: Iterable[IndexEntry], config: Robotwin) -> frozenset[Source]:
    """Return the sources of the clouds of all episodes that can be read."""
    found = set()
    for entry in entries:
        with contextlib.suppress(UserError):  # reported where the episodes are read
            found.add(_source(entry, config))
    return frozenset(found)


def _source(entry: IndexEntry, config: Robotwin) -> Source:
    if config.clouds == "none" or config.points is not None:
        return ("none" if config.clouds == "none" else "files",)
    layout = layout_of(entry.path)
    if layout.clouds is not None and config.clouds in ("auto", "stored"):
        return ("stored",)
    names = tuple(cameras_with_depth(layout, config))
    return ("depth", *names) if names else ("none",)


def live_config(config: Robotwin, found: frozenset[Source]) -> Robotwin:
    """Return the config of a simulator whose clouds are as those of the recorded episodes."""
    if config.clouds != "auto" or len(found) != 1:
        return config
    ((kind, *names),) = found
    if kind == "depth":
        return attrs.evolve(config, clouds="depth", cloud_cameras=tuple(names))
    return attrs.evolve(config, clouds="none") if kind == "none" else config


def problem(found: frozenset[Source]) -> str:
    """Return why clouds while acting differ from those of the recorded episodes, if they do."""
    kinds = sorted({kind for kind, *_ in found})
    if "files" in kinds:
        return "those of the episodes are read from files ([environment] points)"
    if len(found) > 1:
        return (
            f"those of the episodes have different sources ({', '.join(kinds)}); set [environment]"
            " clouds to one of them"
        )
    return ""
