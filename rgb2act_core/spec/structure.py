"""Convert plain data to frozen attrs classes, without type coercion.

Each cattrs hook raises ``InvalidValue`` for one value; cattrs collects them with their paths.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from cattrs import Converter
from cattrs.errors import (
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from ..errors import UserError, did_you_mean
from ..interfaces.fields import Mark, is_marked
from ..plugins.components import Component, Kind
from . import CHOICES, Choice
from .validators import message_of

Find = Callable[[Kind, str], Component]


LARGEST = 2**63 - 1  # of an integer
WEIGHTS_WORDS = ("hub", "package", "random")  # values of a weights field that are not paths


class InvalidValue(ValueError):  # noqa: N818 (the user's error, not the program's)
    """What is wrong with one value.

    ``below`` is the path from the converted table to the value, and ``value`` the value if it may
    be one that was renamed.
    """

    def __init__(self, message: str, *below: str, value: object = None) -> None:
        super().__init__(message)
        self.message, self.below, self.value = message, below, value


def make_converter(find: Find, folder: Path, files: bool = True) -> Converter:
    """Return a converter that coerces no types; ``find`` returns the component that ``use`` names.

    Relative paths start at ``folder`` and become absolute. With ``files=False``, files need not
    exist.
    """
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in (int, float, str, bool):
        converter.register_structure_hook(kind, _scalar)
    converter.register_structure_hook(Path, lambda value, _: _path(value, folder))
    # cattrs asks the hook that was registered last first
    converter.register_structure_hook_factory(_is_union, lambda cls: _union(cls, converter))
    converter.register_structure_hook_factory(_is_tuple, lambda cls: _list(cls, converter))
    converter.register_structure_hook_factory(_is_dict, lambda cls: _free_keys(cls, converter))
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_factory(
        lambda cls: isinstance(cls, type) and attrs.has(cls),
        lambda cls: _table(cls, converter, files),
    )
    converter.register_structure_hook_func(
        lambda cls: cls in CHOICES, lambda value, cls: _choose(value, cls, find, converter)
    )
    return converter


def _digits(value: int) -> int:
    """Return the number of decimal digits; ``str`` refuses to write very large integers."""
    try:
        return len(str(abs(value)))
    except ValueError:  # more than 4300 digits
        return int((abs(value).bit_length() - 1) * math.log10(2)) + 1


def _got(value: Any) -> str:
    """Return a description of a wrong value for a message."""
    if isinstance(value, Mapping):
        return "got a table"
    if isinstance(value, list):
        return "got a list"
    if type(value) is int and abs(value) > LARGEST:
        return f"got an int of {_digits(value)} digits"
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"got {type(value).__name__} {shown}"


def _scalar(value: Any, cls: Any) -> Any:
    if cls is float and type(value) is int and abs(value) <= LARGEST:
        return float(value)
    if type(value) is not cls:
        raise InvalidValue(f"expected {cls.__name__}, {_got(value)}")
    if cls is float and not math.isfinite(value):
        raise InvalidValue(f"expected a finite float, got {value!r}")
    if cls is int and abs(value) > LARGEST:
        raise InvalidValue(f"expected an int of at most {LARGEST}, {_got(value)}")
    return value


def _path(value: Any, folder: Path) -> Path:
    """Return an absolute path; symbolic links and ``..`` stay, as in an interpreter's path."""
    if isinstance(value, Path):
        return (folder / value).absolute()
    if type(value) is not str or not value or "\0" in value:
        raise InvalidValue(f"expected a path, {_got(value)}")
    try:
        return (folder / Path(value).expanduser()).absolute()
    except RuntimeError:
        raise InvalidValue(f"{value!r} names an unknown user; write the absolute path") from None


def _is_literal(cls: Any) -> bool:
    origin: Any = typing.get_origin(cls)
    return origin is Literal


def _literal(value: Any, cls: Any) -> Any:
    allowed = typing.get_args(cls)
    if any(type(value) is type(one) and value == one for one in allowed):
        return value
    words = [repr(one) for one in allowed]
    choice = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    hint = did_you_mean(value, [w for w in allowed if type(w) is str]) if type(value) is str else ""
    raise InvalidValue(f"expected {choice}, {_got(value)}{hint}", value=value)


def _is_union(cls: Any) -> bool:
    return typing.get_origin(cls) in (typing.Union, types.UnionType)


def one_or_many(cls: Any) -> bool:
    """Return whether a type is one chosen component or a list of them, such as ``environment``."""
    one, *others = typing.get_args(cls) or (None,)
    return one in CHOICES and [typing.get_args(other) for other in others] == [(one, ...)]


def _union(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    arms = typing.get_args(cls)
    hooks = [(arm, converter.get_structure_hook(arm)) for arm in arms if arm is not type(None)]
    if one_or_many(cls):
        (one, structure_one), (many, structure_many) = hooks
        return lambda value, _: (
            structure_many(value, many) if isinstance(value, list) else structure_one(value, one)
        )

    def structure(value: Any, _: Any) -> Any:
        if value is None and type(None) in arms:
            return None
        errors: list[Exception] = []
        for arm, hook in hooks:
            try:
                return hook(value, arm)
            except (InvalidValue, BaseValidationError) as err:
                errors.append(err)
        simple = [e.message.partition(", got ")[0] for e in errors if isinstance(e, InvalidValue)]
        if len(errors) == 1 or len(simple) < len(errors):
            raise next((e for e in errors if not isinstance(e, InvalidValue)), errors[0])
        either = " or ".join(text.removeprefix("expected ") for text in simple)
        raise InvalidValue(f"expected {either}, {_got(value)}")

    return structure


def _is_tuple(cls: Any) -> bool:
    return typing.get_origin(cls) is tuple


def _is_dict(cls: Any) -> bool:
    return typing.get_origin(cls) is dict


def _list(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    *inner, last = typing.get_args(cls)

    def kinds(value: list[Any]) -> Iterable[Any]:
        if last is Ellipsis:
            return inner * len(value)
        if len(value) != len(inner) + 1:
            raise InvalidValue(f"expected a list of {len(inner) + 1}, got {len(value)} items")
        return [*inner, last]

    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, Mapping) and attrs.has(inner[0] if inner else last):
            raise InvalidValue("expected a list of tables, got a table; write it as [[NAME]]")
        if not isinstance(value, (list, tuple)):
            raise InvalidValue(f"expected a list, {_got(value)}")
        items, errors = [], []
        for i, (item, kind) in enumerate(zip(value, kinds(list(value)), strict=True)):
            try:
                items.append(converter.structure(item, kind))
            except (InvalidValue, BaseValidationError) as err:
                err.__notes__ = [IterableValidationNote(f"item {i}", i, kind)]
                errors.append(err)
        if errors:
            raise IterableValidationError("list", errors, cls)
        return tuple(items)

    return structure


def _free_keys(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Return a hook for a table with any keys, such as ``task_weights``."""
    _, kind = typing.get_args(cls)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidValue(f"expected a table, {_got(value)}")
        found, errors = {}, []
        for name, item in value.items():
            try:
                found[name] = converter.structure(item, kind)
            except (InvalidValue, BaseValidationError) as err:
                err.__notes__ = [IterableValidationNote(f"key {name}", name, kind)]
                errors.append(err)
        if errors:
            raise IterableValidationError("table", errors, cls)
        return found

    return structure


def _table(cls: Any, converter: Converter, files: bool) -> Callable[[Any, Any], Any]:
    """Return a hook for an attrs class.

    Each field is validated separately, so that all invalid fields are reported.
    """
    hints = typing.get_type_hints(cls)
    fields: Any = {
        field.name: override(struct_hook=_field(cls, field, hints[field.name], converter, files))
        for field in attrs.fields(cls)
        if field.init
    }
    inner: Any = make_dict_structure_fn(
        cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **fields
    )

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise InvalidValue(f"expected a table, {_got(value)}")
        return inner(value, cls)

    return structure


def _field(
    cls: type, field: attrs.Attribute[Any], kind: Any, converter: Converter, files: bool
) -> Callable[[Any, Any], Any]:
    def structure(raw: Any, _: Any) -> Any:
        value = converter.structure(raw, kind)
        if is_marked(field, Mark.WEIGHTS) and value not in WEIGHTS_WORDS:
            path = converter.structure(value, Path)
            if files:
                _check_exists(path)
            value = str(path)
        if files and is_marked(field, Mark.FILE):
            _check_exists(value)
        if field.validator is not None:
            try:
                field.validator(object.__new__(cls), field, value)
            except (ValueError, TypeError, UserError) as err:
                raise InvalidValue(message_of(err)) from None
            except AttributeError:
                pass  # it reads other fields, so it runs in the constructor
        return value

    return structure


def _check_exists(value: Any) -> None:
    for path in value if isinstance(value, tuple) else (value,):
        try:
            exists = not isinstance(path, Path) or path.exists()
        except OSError as err:
            raise InvalidValue(f"{str(path)!r:.80}: {str(err.strerror).lower()}") from None
        if not exists:
            raise InvalidValue(
                f"there is no file {str(path)!r}; paths are relative to the spec's folder"
            )


def _choose(value: Any, cls: type[Choice], find: Find, converter: Converter) -> Choice:
    kind = CHOICES[cls]
    if not isinstance(value, Mapping):
        hint = f"; write {{ use = {value!r} }}" if isinstance(value, str) else ""
        raise InvalidValue(f"expected a table, {_got(value)}{hint}")
    if "use" not in value:
        rest = did_you_mean("use", value)
        raise InvalidValue(f"missing; name {kind.label_with_article}{rest}", "use")
    if type(value["use"]) is not str:
        raise InvalidValue(f"expected str, {_got(value['use'])}", "use")
    try:
        component = find(kind, value["use"])
    except UserError as err:
        raise InvalidValue(str(err), "use", value=value["use"]) from None
    config = {key: item for key, item in value.items() if key != "use"}
    return cls(component=component, config=converter.structure(config, component.config))
