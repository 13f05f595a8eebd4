"""Which files of weights a spec needs, and whether they are here. Nothing is fetched or loaded.

A config with a ``fields.weights`` field has a property ``official`` that returns an
``OfficialWeights``. ``fields.file`` fields are listed too; where they come from is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs

from ..errors import UserError
from ..interfaces.fields import Mark, is_marked
from ..spec import Choice, Spec
from . import loading
from .checkpoint_files import INDEX, shards
from .official import OfficialWeights

State = Literal["here", "to fetch", "missing", "random", "none"]


@attrs.frozen(kw_only=True)
class WeightsStatus:
    """Say what one component needs; ``none`` is a component that reads no file."""

    role: str  # "backbone" or "teacher"
    component: str
    state: State
    name: str = ""  # of the official file, or the field of another one
    file: str = ""
    size: int | None = None  # bytes, of what is here or of the official file where it is known
    licence: str = ""
    path: str | None = None  # where it is
    source: str | None = None  # where it comes from
    accept: str | None = None  # page of a gate


def inventory(spec: Spec) -> tuple[WeightsStatus, ...]:
    """Return what a spec's backbones and teacher need, in the spec's order."""
    roles = [*(("backbone", choice) for choice in spec.backbone), ("teacher", spec.teacher)]
    return tuple(need for role, choice in roles for need in needs(role, choice))


def needs(role: str, choice: Choice) -> Iterator[WeightsStatus]:
    """Yield what one component needs."""
    found = False
    for field in attrs.fields(type(choice.config)):
        value = getattr(choice.config, field.name)
        if is_marked(field, Mark.WEIGHTS):
            yield _weights(role, choice, value)
        elif is_marked(field, Mark.FILE) and isinstance(value, Path):
            yield _at(
                WeightsStatus(role=role, component=_name(choice), state="none", name=field.name),
                value,
            )
        else:
            continue
        found = True
    if not found:
        yield WeightsStatus(role=role, component=_name(choice), state="none")


def fetch(spec: Spec) -> None:
    """Download the official files that are still to be fetched, one after another.

    Raises UserError with what is wrong with each file that could not be had.
    """
    problems: list[str] = []
    for choice in (*spec.backbone, spec.teacher):
        for field in attrs.fields(type(choice.config)):
            if is_marked(field, Mark.WEIGHTS) and getattr(choice.config, field.name) == "hub":
                try:
                    loading.locate("hub", choice.config.official, _name(choice))
                except UserError as err:
                    problems += err.args
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _weights(role: str, choice: Choice, value: str) -> WeightsStatus:
    need = WeightsStatus(role=role, component=_name(choice), state="random")
    if value == "random":
        return need
    official: OfficialWeights = choice.config.official
    if value != "hub":
        return _at(need, Path(value).expanduser())
    need = attrs.evolve(
        need,
        name=official.name,
        file=official.filename,
        size=official.size,
        licence=official.licence,
        source=None if official.repo is None and official.url is None else official.source,
        accept=official.accept,
    )
    if there := loading.cached(official):
        return attrs.evolve(need, state="here", path=str(there), size=_size(there))
    return attrs.evolve(need, state="to fetch" if need.source else "missing")


def _at(need: WeightsStatus, path: Path) -> WeightsStatus:
    """Return the need as met, or not, by a path of the user's; whose file it is is not known."""
    there = path.exists()
    return attrs.evolve(
        need,
        state="here" if there else "missing",
        file=path.name,
        size=_size(path) if there else None,
        path=str(path),
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, of a folder's files, or of an index and its shards."""
    files = [path]
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file()]
    elif path.name.endswith(INDEX):
        files += [path.parent / name for name in shards(path)]
    return sum(file.stat().st_size for file in files if file.exists())


def _name(choice: Choice) -> str:
    name: Any = choice.component.name
    return str(name)
