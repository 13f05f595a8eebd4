"""Read a run spec from TOML, strictly: every problem of the file at once, each with its line."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from ..errors import UserError, near
from ..interfaces.fields import Mark, is_marked
from ..plugins import registry
from ..plugins.components import Component
from . import CHOICES, Choice, Spec, toml_lines
from .structure import Find, InvalidValue, converter, one_or_many, said

LARGEST = 1_000_000  # bytes of a spec file


@attrs.frozen
class _Problem:
    path: toml_lines.Path
    message: str
    at: toml_lines.Path  # where its line is


def read_spec(path: Path, find: Find = registry.find, files: bool = True) -> Spec:
    """Return the spec that a TOML file holds; ``files=False`` does not ask whether files exist.

    Raises UserError with every problem in it, sorted by line.
    """
    text = _text(path)
    try:
        data = tomllib.loads(text)
        lines = toml_lines.key_lines(text.replace("\r\n", "\n"))
    except RecursionError:
        raise UserError(f"{path}: lists or tables are nested too deep; flatten them") from None
    except ValueError as err:
        raise UserError(_syntax(path, text, str(err))) from None
    try:
        return converter(find, path.parent, files).structure(data, Spec)
    except (BaseValidationError, InvalidValue) as err:
        found = sorted(((_line(p.at, lines), p) for p in _problems(err)), key=_order)
        raise UserError(*(f"{path}:{n}: {_place(p)}{p.message}" for n, p in found)) from None


def structure(
    cls: type,
    data: Any,
    find: Find = registry.find,
    folder: Path | None = None,
    files: bool = True,
) -> Any:
    """Return an instance of a spec or config class from plain data, as strictly as a file.

    Relative paths are looked up in ``folder``; ``files=False`` does not look for them at all.
    Raises UserError with every problem.
    """
    try:
        return converter(find, folder or Path(), files).structure(data, cls)
    except (BaseValidationError, InvalidValue) as err:
        raise UserError(*(f"{_place(p)}{p.message}" for p in _problems(err))) from None


def structure_config(component: Component | type, data: Mapping[str, Any]) -> Any:
    """Return a component's config from what a spec's table says without its ``use``."""
    return structure(component.config if isinstance(component, Component) else component, data)


def unstructure(obj: Any, runtime: bool = True) -> Any:
    """Return a spec or config as what JSON can hold, the inverse of ``structure``.

    ``runtime=False`` leaves out the fields that change no result.
    """
    if isinstance(obj, Choice):
        return {"use": obj.component.name, **unstructure(obj.config, runtime)}
    if attrs.has(type(obj)):
        return {
            field.name: unstructure(getattr(obj, field.name), runtime)
            for field in attrs.fields(type(obj))
            if field.init and (runtime or not is_marked(field, Mark.RUNTIME))
        }
    if isinstance(obj, Mapping):
        return {name: unstructure(item, runtime) for name, item in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [unstructure(item, runtime) for item in obj]
    return str(obj) if isinstance(obj, Path) else obj


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise UserError(f"{path}: larger than 1 MB; this is no run spec")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = near(path.name, (p.name for p in path.parent.glob("*.toml")))
        raise UserError(f"{path}: no such file{hint or '; give the path of a run spec'}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give the path of a run spec in it") from None
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not UTF-8 at byte {err.start}; save it as UTF-8") from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise UserError(f"{path}: {str(reason).lower()}; give a file that can be read") from None


def _syntax(path: Path, text: str, message: str) -> str:
    match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1 if match else 1
    reason = message[: match.start()] if match else message
    return f"{path}:{line}: not valid TOML: {reason[:1].lower()}{reason[1:]}"


def _order(item: tuple[int, _Problem]) -> tuple[int, str, str]:
    return item[0], _place(item[1]), item[1].message


def _line(path: toml_lines.Path, lines: Mapping[toml_lines.Path, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _place(problem: _Problem) -> str:
    """Return a path as ``backbone[0].dim: ``; the file as a whole has none."""
    steps = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in problem.path)
    return f"{steps.removeprefix('.')}: " if steps else ""


def _problems(err: Exception, path: toml_lines.Path = ()) -> Iterator[_Problem]:
    """Walk the tree of what cattrs collected."""
    if isinstance(err, BaseValidationError):
        noted, plain = typing.cast(Any, err).group_exceptions()
        for inner, note in noted:
            if isinstance(inner, KeyError):
                yield _missing((*path, note.name), note)
            else:
                step = note.index if isinstance(note, IterableValidationNote) else note.name
                yield from _problems(inner, (*path, step))
        for inner in plain:
            known = [f.name for f in attrs.fields(err.cl)] if attrs.has(err.cl) else []
            yield from _of_whole(inner, path, known)
    elif isinstance(err, InvalidValue):
        at = (*path, *err.below)
        yield _Problem(at, err.message.replace("[[NAME]]", f"[[{_dotted(at)}]]"), at)
    else:
        raise err  # a fault of a plugin's config class, not of the spec


def _dotted(path: toml_lines.Path) -> str:
    return ".".join(step for step in path if isinstance(step, str))


def _missing(path: toml_lines.Path, note: AttributeValidationNote) -> _Problem:
    """Say what to add: a table, one of several, or a key."""
    kind = typing.get_args(note.type)[0] if one_or_many(note.type) else note.type
    inner = typing.get_args(kind)
    use = " with use = ..." if (inner[0] if inner else kind) in CHOICES else ""
    name = _dotted(path)
    if inner and attrs.has(inner[0]):
        message = f"missing; add at least one table [[{name}]]{use}"
    elif isinstance(kind, type) and attrs.has(kind):
        message = f"missing; add a table [{name}]{use}"
    else:
        message = "missing; it has no default"
    return _Problem(path, message, path)


def _of_whole(err: Exception, path: toml_lines.Path, known: list[str]) -> Iterator[_Problem]:
    """Yield what concerns a table and no field of it: unknown keys, fields that do not agree."""
    if isinstance(err, ForbiddenExtraKeysError):
        for key in err.extra_fields:
            hint = near(key, known) or f"; known: {', '.join(known) or 'none'}"
            yield _Problem((*path, key), f"unknown key{hint}", (*path, key))
    elif isinstance(err, UserError):
        for message in err.args:
            yield _of_fields(str(message), path, known)
    elif isinstance(err, (ValueError, TypeError)) and not isinstance(err, InvalidValue):
        yield _of_fields(said(err), path, known)
    else:
        yield from _problems(err, path)


def _of_fields(message: str, path: toml_lines.Path, known: list[str]) -> _Problem:
    """Place a message that begins with a field's name at that field."""
    if (match := re.match(r"(?:\w+\.)?(\w+): (.+)", message, re.DOTALL)) and match[1] in known:
        return _Problem((*path, match[1]), match[2], (*path, match[1]))
    first = re.match(r"\w+", message)
    named = first is not None and first[0] in known
    return _Problem(path, message, (*path, first[0]) if first and named else path)
