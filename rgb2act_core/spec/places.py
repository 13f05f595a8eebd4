"""Where each key of a spec is written: on a line of its file, or in an option of the command."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ..errors import UserError
from . import Spec
from .toml_lines import Path as KeyPath

_TABLES = {field.name for field in attrs.fields(Spec)}
_KEY = re.compile(r"(\w+(?:\.\w+|\[\d+\])*): ")
_STEP = re.compile(r"\w+")


@attrs.frozen(order=True)
class Place:
    """A line of a spec file, or an option, which comes after all lines."""

    option: int  # number of the option; 0 for a line
    line: int
    text: str


class Places:
    """The places of a spec's keys."""

    def __init__(self, file: Path, lines: Mapping[KeyPath, int]) -> None:
        self._start = Place(0, 1, f"{file}:1")
        self._places = {path: Place(0, line, f"{file}:{line}") for path, line in lines.items()}
        self._set: dict[KeyPath, None] = {}  # keys that options set

    def replace(self, path: KeyPath, origin: str) -> None:
        """Record that an option sets a key, and with it everything below the key."""
        below = [known for known in self._places if known[: len(path)] == path]
        for known in below:
            del self._places[known]
        self._set[path] = None
        self.create(path, origin)

    def create(self, path: KeyPath, origin: str) -> None:
        """Record that an option creates a table around the key that it sets."""
        self._places[path] = Place(1 + len(self._set), 0, origin)

    def of(self, path: KeyPath) -> Place:
        """Return the place of a key, or else of the innermost table around it."""
        return self._places.get(self._known(path), self._start)

    def is_option(self, path: KeyPath) -> bool:
        """Return whether an option sets exactly this key."""
        return path in self._set

    def _known(self, path: KeyPath) -> KeyPath:
        while path and path not in self._places:
            path = path[:-1]
        return path

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Add the place to each problem of a UserError that begins with a key of the spec.

        ``compute.device: 'cuda' ...`` becomes ``run.toml:31: compute.device: 'cuda' ...``.
        """
        try:
            yield
        except UserError as err:
            found = [self._locate(str(problem)) for problem in err.args]
            raise UserError(*(text for _, text in sorted(found, key=lambda one: one[0]))) from err

    def _locate(self, problem: str) -> tuple[Place, str]:
        match = _KEY.match(problem)
        steps = _STEP.findall(match[1]) if match else [""]
        if match is None or steps[0] not in _TABLES:
            return self._start, problem
        path = tuple(int(step) if step.isdecimal() else step for step in steps)
        place = self.of(path)
        rest = problem[match.end() :] if self.is_option(path) else problem
        return place, f"{place.text}: {rest}"
