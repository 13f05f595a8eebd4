"""Which rows and results a logger has received, kept in its folder across interruptions."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..store.files import read_json, write_json


@attrs.define
class SentStage:
    """What a logger has received of one stage."""

    key: str
    rows: int = 0
    complete: bool = False


class Sent:
    """What a logger has received of a run.

    Args:
        path: the file; it is created with a new ``id`` if it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        data: Mapping[str, Any] = {}
        with contextlib.suppress(UserError):
            data = read_json(path)
        try:
            self.id = str(data["id"])
            stages = data["stages"].items()
            self._stages = {name: SentStage(**stage) for name, stage in stages}
        except (KeyError, TypeError, AttributeError):
            self.id, self._stages = secrets.token_hex(8), {}

    def complete(self, name: str, key: str) -> bool:
        """Return whether a stage's rows and results were sent."""
        stage = self._stages.get(name)
        return stage is not None and stage.key == key and stage.complete

    def of(self, name: str, key: str) -> SentStage:
        """Return what was sent of a stage; nothing if its key changed."""
        stage = self._stages.get(name)
        if stage is None or stage.key != key:
            stage = self._stages[name] = SentStage(key=key)
        return stage

    def save(self) -> None:
        """Write the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stages = {name: attrs.asdict(stage) for name, stage in self._stages.items()}
        write_json(self._path, {"id": self.id, "stages": stages})
