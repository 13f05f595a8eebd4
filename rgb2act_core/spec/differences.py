"""What a recorded spec sets differently from the defaults.

Works on plain data, as ``run.json`` has it: the tables of a component that is not installed are
kept as they are.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..errors import UserError
from ..plugins import registry
from . import CHOICES, Spec
from .reader import unstructure
from .structure import Find


def without_defaults(data: Mapping[str, Any], find: Find = registry.find) -> dict[str, Any]:
    """Return a spec's plain data without the keys that have their default value.

    Tables of which no key is left are removed; keys without a default are kept.
    """
    return _table(data, Spec, find)


def _table(data: Mapping[str, Any], cls: type, find: Find) -> dict[str, Any]:
    types, fields = typing.get_type_hints(cls), attrs.fields_dict(cls)
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if name not in fields:
            kept[name] = value
            continue
        has_default, default = _default(fields[name])
        if has_default and unstructure(default) == value:
            continue
        reduced = _value(value, types[name], find)
        if reduced == {} and has_default:
            continue
        kept[name] = reduced
    return kept


def _default(field: attrs.Attribute[Any]) -> tuple[bool, Any]:
    """Return whether a field has a default, and the default."""
    default: Any = field.default
    if default is attrs.NOTHING:
        return False, None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return (False, None) if default.takes_self else (True, default.factory())
    return True, default


def _value(value: Any, kind: Any, find: Find) -> Any:
    if isinstance(value, list):
        return [_value(item, kind, find) for item in value]
    if not isinstance(value, Mapping):
        return value
    for cls in _classes(kind):
        if cls in CHOICES:
            return _choice(value, cls, find)
        if attrs.has(cls):
            return _table(value, cls, find)
    return value


def _choice(table: Mapping[str, Any], cls: type, find: Find) -> dict[str, Any]:
    try:
        config = find(CHOICES[cls], str(table.get("use"))).config
    except UserError:
        return dict(table)
    rest = {name: value for name, value in table.items() if name != "use"}
    return {"use": table["use"], **_table(rest, config, find)}


def _classes(kind: Any) -> Iterator[type]:
    """Yield the classes in a type such as ``tuple[Backbone, ...] | None``."""
    if isinstance(kind, type) and not typing.get_args(kind):
        yield kind
    for inner in typing.get_args(kind):
        yield from _classes(inner)
