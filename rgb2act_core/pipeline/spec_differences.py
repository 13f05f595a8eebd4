"""The keys in which recorded specs differ.

A key that some specs do not have, and that is at its default in all others, does not count: other
versions of rgb2act do not know it, and the tables of other components do not contain it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..spec.differences import without_defaults

MISSING = "-"  # in a difference: the key is absent


@attrs.frozen(kw_only=True)
class Difference:
    """A key of the specs and its value in each of them; None where it is absent."""

    key: str
    values: tuple[Any, ...]


def differences(specs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Return the keys whose values are not equal in all specs, in the order of the specs."""
    tables = [dict(flat(spec)) for spec in specs]
    found = [
        Difference(key=key, values=tuple(table.get(key) for table in tables))
        for key in dict.fromkeys(key for table in tables for key in table)
    ]
    found = [each for each in found if not _all_equal(each.values)]
    partial = {
        each.key
        for each in found
        if _all_equal([table[each.key] for table in tables if each.key in table])
    }
    if not partial:
        return found
    chosen = {key for spec in specs for key, _ in flat(without_defaults(spec))}
    return [each for each in found if each.key not in partial or each.key in chosen]


def _all_equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def flat(data: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested tables, and of lists of tables, with their paths."""
    if isinstance(data, Mapping):
        parts = {f"{path}.{key}" if path else str(key): value for key, value in data.items()}
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        parts = {f"{path}[{index}]": item for index, item in enumerate(data)}
    else:
        return [(path, data)]
    return [found for name, value in parts.items() for found in flat(value, name)]


def shown(value: Any) -> str:
    """Return a value of a spec as short text."""
    if value is None:
        return MISSING
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
