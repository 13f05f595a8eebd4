"""Mutations of run specs that keep most of them readable, so that later checks are reached too.

One or two keys of a sound spec get another value of the key's type: keys that the spec has, or any
other key of its tables.
"""

from __future__ import annotations

import random
import tomllib
import types
import typing
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import attrs
import tomli_w

from rgb2act_core.plugins import registry
from rgb2act_core.plugins.components import Kind
from rgb2act_core.spec import Spec
from rgb2act_core.spec.choices import Choice

INTEGERS = (0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 1000, 50_000, 10**6, 10**9, 2**31, 2**63, -1)
FLOATS = (0.0, 1e-9, 1e-3, 0.1, 0.5, 1.0, 2.0, 100.0, 1e9, 1e300, -1.0, float("nan"), float("inf"))
TEXTS = ("", "a", "head", "cpu", "cuda", "random", "../x", "x" * 300)
Slot = tuple[dict[str, Any], str, Any]  # a table, a key and the type of its value


def mutated(data: bytes, number: int) -> bytes:
    """Return a spec with one or two values changed, as ``number`` determines."""
    pick, spec = random.Random(number), tomllib.loads(data.decode())
    for _ in range(pick.choice((1, 1, 2))):
        table, key, kind = pick.choice(list(_slots(spec, Spec)))
        if key in table and pick.random() < 0.1:
            del table[key]
        elif (value := _value(kind, table.get(key), pick)) is not None:
            table[key] = value
    return tomli_w.dumps(spec).encode()


def _slots(table: dict[str, Any], kind: type) -> Iterator[Slot]:
    """Yield every key that a table may have, and those of the tables in it."""
    hints = typing.get_type_hints(kind)
    for field in attrs.fields(kind):
        if not field.init or field.name == "name":
            continue
        yield table, field.name, hints[field.name]
        inside = table.get(field.name)
        for part in inside if isinstance(inside, list) else [inside]:
            if isinstance(part, dict) and (config := _config(hints[field.name], part)):
                yield from _slots(part, config)


def _config(kind: Any, part: dict[str, Any]) -> type | None:
    """Return the class of a table, if it has one."""
    for option in _options(kind):
        if isinstance(option, type) and issubclass(option, Choice):
            names = (c for k, c in registry.components() if k is _kind(option))
            return next((c.config for c in names if c.name == part.get("use")), None)
        if isinstance(option, type) and attrs.has(option):
            return option
    return None


def _kind(choice: type) -> Kind:
    word = choice.__name__.removesuffix("Choice").lower()
    return next(kind for kind in Kind if kind.value.replace("_", "").endswith(word))


def _options(kind: Any) -> list[Any]:
    """Return the types of a union, and of a tuple's items."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return [option for argument in arguments for option in _options(argument)]
    return _options(arguments[0]) if origin is tuple and arguments else [kind]


def _value(kind: Any, old: Any, pick: random.Random) -> Any:
    """Return a value of a type, often near the old one; None for none."""
    if type(old) in (int, float) and pick.random() < 0.4:
        return type(old)(old * pick.choice((0, 0.5, 2, 3, 10, 1000)))
    if typing.get_origin(kind) is tuple:
        count = pick.choice((0, 1, 2, 2, 3, 20))
        values = [_value(pick.choice(_options(kind)), None, pick) for _ in range(count)]
        return [value for value in values if value is not None]
    option = pick.choice(_options(kind))
    if typing.get_origin(option) is Literal:
        return pick.choice(typing.get_args(option))
    if isinstance(option, type) and issubclass(option, Choice):
        names = [c.name for k, c in registry.components() if k is _kind(option)]
        return {"use": pick.choice(names)}
    if isinstance(option, type) and issubclass(option, Enum):
        return pick.choice(list(option)).value
    if isinstance(option, type) and attrs.has(option):
        return {}
    simple: dict[Any, Callable[[], Any]] = {
        bool: lambda: pick.random() < 0.5,
        int: lambda: pick.choice(INTEGERS),
        float: lambda: pick.choice(FLOATS),
        str: lambda: pick.choice(TEXTS),
        Path: lambda: pick.choice((".", "none", "/dev/null", "spec.toml")),
    }
    return simple[option]() if option in simple else None
