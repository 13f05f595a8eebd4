"""Retired keys and values are not in the spec, and their replacements exist."""

from __future__ import annotations

import typing
from typing import Any

import attrs
import pytest

from rgb2act_core.spec import Spec
from rgb2act_core.spec.retired import KEYS, VALUES


def table(path: list[str]) -> type:
    """Return the attrs class of a table such as ``align.loss``."""
    cls: Any = Spec
    for name in path:
        hint = typing.get_type_hints(cls)[name]
        cls = next(one for one in (hint, *typing.get_args(hint)) if attrs.has(one))
    found: type = cls
    return found


def words(hint: Any) -> set[str]:
    """Return all strings in a type such as ``tuple[Literal["a", "b"], ...]``."""
    args = typing.get_args(hint)
    return {arg for arg in args if isinstance(arg, str)}.union(*map(words, args))


@pytest.mark.parametrize(("path", "name"), KEYS.items())
def test_key_is_replaced_by_a_known_one(path: str, name: str) -> None:
    *tables, old = path.split(".")
    known = attrs.fields_dict(table(tables))
    assert name in known
    assert old not in known


@pytest.mark.parametrize("path", sorted(set(VALUES) - {"policy.head.use"}))  # not a fixed list
def test_values_are_replaced_by_known_ones(path: str) -> None:
    *tables, key = path.split(".")
    known = words(typing.get_type_hints(table(tables))[key])
    assert set(VALUES[path].values()) <= known
    assert known.isdisjoint(VALUES[path])
