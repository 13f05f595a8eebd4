"""The axes of a sweep: keys of a spec with several values, such as ``--set seed=0,1,2``.

The values of an axis are a TOML array without its brackets. Words that are not TOML are strings.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping

import attrs

from ..errors import Problems, UserError
from .overrides import KEYS, parse_key, parse_value

_PART = re.compile(r"""\"(?:\\.|[^"\\])*"|'[^']*'|[^"'\[\]{},]+|.""", re.DOTALL)


@attrs.frozen
class Axis:
    """A key and its values, as they are written in an option."""

    key: str
    values: tuple[str, ...]


def parse_axes(given: Iterable[tuple[str, str]]) -> tuple[Axis, ...]:
    """Return the axes of ``(option, text)`` pairs, such as ``("--set", "seed=0,1,2")``.

    Raises UserError with all options that cannot be read.
    """
    problems, axes = Problems(), list[Axis]()
    for option, text in given:
        with problems.collected():
            axis = _axis(option, text)
            if any(axis.key == known.key for known in axes):
                raise UserError(f"{option} {text}: {axis.key} is set twice; list all its values")
            axes.append(axis)
    problems.raise_any()
    return tuple(axes)


def combinations(axes: Iterable[Axis]) -> tuple[Mapping[str, str], ...]:
    """Return all combinations of the axes' values, by key; the last axis changes fastest."""
    axes = tuple(axes)
    products = itertools.product(*(axis.values for axis in axes))
    return tuple(dict(zip((a.key for a in axes), p, strict=True)) for p in products)


def label_of(values: Mapping[str, str], axes: Iterable[Axis]) -> str:
    """Return the values of the axes that have several, such as ``seed=0 policy.steps=100``."""
    several = (axis.key for axis in axes if len(axis.values) > 1)
    return " ".join(f"{key}={values[key]}" for key in several) or "the only combination"


def split_values(text: str) -> tuple[str, ...]:
    """Return the items of a TOML array without its brackets, each as it is written."""
    items, depth = [""], 0
    for part in _PART.findall(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part, 0)
        if part == "," and not depth:
            items.append("")
        else:
            items[-1] += part
    return tuple(item.strip() for item in items)


def _axis(option: str, text: str) -> Axis:
    origin = f"{option} {text}"
    key, equals, values = (KEYS[option], "=", text) if option in KEYS else text.partition("=")
    if not equals:
        raise UserError(f"{origin}: has no value; write KEY=VALUE,VALUE, such as seed=0,1,2")
    parse_key(key, origin)
    items = split_values(values)
    for item in items:
        parse_value(item, f"--set {key.strip()}={item}")
    if len(set(items)) < len(items):
        raise UserError(f"{origin}: a value is listed twice; list each once")
    return Axis(key.strip(), items)
