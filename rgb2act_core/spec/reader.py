"""Read a run spec from a TOML file and report all its problems at once, each with its line."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from ..errors import UserError, did_you_mean
from ..interfaces.fields import Mark, is_marked
from ..plugins import registry
from ..plugins.components import Component
from ..system.input_files import read_regular
from . import CHOICES, Choice, Spec, retired, toml_lines
from .conditions import CONDITIONS
from .overrides import Override, apply_overrides
from .places import Place, Places
from .requirements import NO_STUDENT, NO_TEACHER, TRAINED_ON_STUDENT, missing_table
from .structure import WEIGHTS_WORDS, Find, InvalidValue, make_converter, one_or_many
from .validators import message_of

MAX_BYTES = 1_000_000  # of a spec file


@attrs.frozen
class _Problem:
    path: toml_lines.Path
    message: str
    line_of: toml_lines.Path  # the key on whose line it is reported


@attrs.frozen
class SpecSource:
    """A spec and where its keys are written."""

    spec: Spec
    places: Places


def read_spec(path: Path, find: Find = registry.find, files: bool = True) -> Spec:
    """Return the spec in a TOML file.

    Its paths are absolute. With ``files=False``, files that the spec names need not exist. Raises
    UserError with all problems, sorted by line.
    """
    return read_source(path, (), find, files).spec


def read_source(
    path: Path,
    overrides: Sequence[Override] = (),
    find: Find = registry.find,
    files: bool = True,
) -> SpecSource:
    """Return the spec in a TOML file with some keys overridden, and where its keys are written.

    Overrides are checked as strictly as the file. Raises UserError as ``read_spec`` does; a
    problem of an override names its option instead of a line.
    """
    text = _text(path)
    try:
        data = tomllib.loads(text)
        lines = toml_lines.key_lines(text.replace("\r\n", "\n"))
    except RecursionError:
        raise UserError(f"{path}: lists or tables are nested too deeply; flatten them") from None
    except ValueError as err:
        raise UserError(_syntax(path, text, str(err))) from None
    return _overridden(
        data, overrides, Places(path, lines), make_converter(find, path.parent, files)
    )


def override_spec(spec: Spec, overrides: Sequence[Override], origin: Path) -> SpecSource:
    """Return a spec that was read before, with some keys overridden.

    ``origin`` names it in messages. Files that it names need not exist.
    """
    converter = make_converter(registry.find, Path(), files=False)
    return _overridden(unstructure(spec), overrides, Places(origin, {}), converter)


def _overridden(
    data: dict[str, Any], overrides: Sequence[Override], places: Places, converter: Converter
) -> SpecSource:
    data = apply_overrides(data, overrides, places)
    problems = list(_missing_tables(data))
    try:
        spec = converter.structure(data, Spec)
    except (BaseValidationError, InvalidValue) as err:
        problems += _problems(err)
    if problems:
        found = sorted(_placed(problem, places) for problem in problems)
        raise UserError(*(f"{place.text}: {message}" for place, message in found))
    return SpecSource(spec, places)


def _missing_tables(data: Mapping[str, Any]) -> Iterator[_Problem]:
    """Yield a problem for each of ``[teacher]``, ``[align]`` and ``[distill]`` that is needed.

    The data is not validated yet.
    """
    policy, act = data.get("policy", {}), data.get("act", {})
    policy, act = (table if isinstance(table, Mapping) else {} for table in (policy, act))
    baselines = act.get("baselines", ())
    names = [
        policy.get("condition", "aligned"),
        *(baselines if isinstance(baselines, list) else ()),
    ]
    used = [CONDITIONS[name] for name in names if isinstance(name, str) and name in CONDITIONS]
    extract = data.get("extract", {})
    given = isinstance(extract, Mapping) and extract.get("keep") == "aligned"
    for table in ("teacher", "align") if act.get("replay") is not True else ():
        teaches = [c for c in used if c.teacher or (c.needs_teacher and not given)]
        needs = teaches if table == "teacher" else [c for c in used if c.aligner]
        if table not in data and needs:
            yield _Problem((table,), missing_table(table, needs[0].name), (table,))
    frozen = any(c.aligner == "trained" for c in used[:1])
    if given and frozen and policy.get("train_on") == "teacher" and "teacher" not in data:
        yield _Problem(("teacher",), NO_TEACHER, ("teacher",))
    if policy.get("encoder") != "student":
        return
    if "distill" not in data:
        yield _Problem(("distill",), NO_STUDENT, ("distill",))
    distill = data.get("distill")
    trained = isinstance(distill, Mapping) and distill.get("head") == "trained"
    if trained and policy.get("train_on") == "teacher":
        yield _Problem(("policy", "train_on"), TRAINED_ON_STUDENT, ("policy", "train_on"))


def structure(
    cls: type,
    data: Any,
    find: Find = registry.find,
    folder: Path | None = None,
    files: bool = True,
) -> Any:
    """Return an instance of a spec or config class from plain data, as strictly as ``read_spec``.

    Relative paths start at ``folder``, by default the working directory, and become absolute. With
    ``files=False``, files need not exist. Raises UserError with all problems.
    """
    try:
        return make_converter(find, folder or Path(), files).structure(data, cls)
    except (BaseValidationError, InvalidValue) as err:
        raise UserError(*(f"{_prefix(p)}{p.message}" for p in _problems(err))) from None


def structure_config(component: Component | type, data: Mapping[str, Any]) -> Any:
    """Return a component's config from a spec's table without its ``use``."""
    return structure(component.config if isinstance(component, Component) else component, data)


def unstructure(obj: Any, runtime: bool = True, root: Path | None = None) -> Any:
    """Return a spec or config as plain JSON data, the inverse of ``structure``.

    With ``runtime=False``, fields that change no result are left out. Paths below ``root`` become
    relative to it; ``structure`` with ``folder=root`` makes them absolute again, even if the folder
    was moved.
    """
    if isinstance(obj, Choice):
        return {"use": obj.component.name, **unstructure(obj.config, runtime, root)}
    if attrs.has(type(obj)):
        return {
            field.name: unstructure(_path_of(obj, field), runtime, root)
            for field in attrs.fields(type(obj))
            if field.init and (runtime or not is_marked(field, Mark.RUNTIME))
        }
    if isinstance(obj, Mapping):
        return {name: unstructure(item, runtime, root) for name, item in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [unstructure(item, runtime, root) for item in obj]
    return _relative(obj, root) if isinstance(obj, Path) else obj


def _path_of(obj: Any, field: attrs.Attribute[Any]) -> Any:
    """Return the value of a field; the path of a weights file as a ``Path``."""
    value = getattr(obj, field.name)
    return Path(value) if is_marked(field, Mark.WEIGHTS) and value not in WEIGHTS_WORDS else value


def _relative(path: Path, root: Path | None) -> str:
    """Return a path as a string, relative to ``root`` if it is below it.

    The folder's symbolic links are followed, those of the last part are not: the interpreter of a
    virtual environment is a link.
    """
    for found in (path, path.parent.resolve() / path.name) if root else ():
        if root and found.is_relative_to(root):
            return str(found.relative_to(root))
    return str(path)


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than 1 MB; give the path of a run spec")
        return read_regular(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        hint = did_you_mean(path.name, (p.name for p in path.parent.glob("*.toml")))
        raise UserError(f"{path}: no such file{hint or '; give the path of a run spec'}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give the path of a TOML file") from None
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not UTF-8 at byte {err.start}; save it as UTF-8") from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise UserError(f"{path}: {str(reason).lower()}; give a readable file") from None


def _syntax(path: Path, text: str, message: str) -> str:
    match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1 if match else 1
    reason = message[: match.start()] if match else message
    return f"{path}:{line}: not valid TOML: {reason[:1].lower()}{reason[1:]}"


def _placed(problem: _Problem, places: Places) -> tuple[Place, str]:
    """Return the place and the message of a problem; an option names its key already."""
    prefix = "" if places.is_option(problem.path) else _prefix(problem)
    return places.of(problem.line_of), f"{prefix}{problem.message}"


def _prefix(problem: _Problem) -> str:
    """Return the path of a problem, such as ``backbone[0].dim: ``; empty for the file."""
    steps = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in problem.path)
    return f"{steps.removeprefix('.')}: " if steps else ""


def _problems(err: Exception, path: toml_lines.Path = ()) -> Iterator[_Problem]:
    """Yield the problems in the tree of exceptions that cattrs collected."""
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
            yield from _table_problems(inner, path, known)
    elif isinstance(err, InvalidValue):
        at = (*path, *err.below)
        renamed = retired.value_message(_dotted(at), err.value)
        message = err.message.replace("[[NAME]]", f"[[{_dotted(at)}]]")
        yield _Problem(at, renamed or message, at)
    else:
        raise err  # a bug in a plugin's config class, not a problem of the spec


def _dotted(path: toml_lines.Path) -> str:
    return ".".join(step for step in path if isinstance(step, str))


def _missing(path: toml_lines.Path, note: AttributeValidationNote) -> _Problem:
    """Return the problem of a missing key or table, with what to add."""
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


def _table_problems(err: Exception, path: toml_lines.Path, known: list[str]) -> Iterator[_Problem]:
    """Yield problems of a table as a whole: unknown keys and keys that contradict each other."""
    if isinstance(err, ForbiddenExtraKeysError):
        for key in err.extra_fields:
            at = (*path, key)
            hint = did_you_mean(key, known) or f"; known: {', '.join(known) or 'none'}"
            yield _Problem(at, retired.key_message(_dotted(at)) or f"unknown key{hint}", at)
    elif isinstance(err, UserError):
        for message in err.args:
            yield _named_problem(str(message), path, known)
    elif isinstance(err, (ValueError, TypeError)) and not isinstance(err, InvalidValue):
        yield _named_problem(message_of(err), path, known)
    else:
        yield from _problems(err, path)


def _named_problem(message: str, path: toml_lines.Path, known: list[str]) -> _Problem:
    """Return a problem of the field whose name the message begins with, or else of the table."""
    if (match := re.match(r"(?:\w+\.)?(\w+): (.+)", message, re.DOTALL)) and match[1] in known:
        return _Problem((*path, match[1]), match[2], (*path, match[1]))
    first = re.match(r"\w+", message)
    named = first is not None and first[0] in known
    return _Problem(path, message, (*path, first[0]) if first and named else path)
