"""Validators for specs and configs that ``attrs.validators`` does not have."""

from __future__ import annotations

import re
from typing import Any

import attrs

_BOUND = re.compile(r"'\w+' must be (>=|>|<=|<) (\S+): (.+)", re.DOTALL)
_LENGTH = re.compile(r"Length of '\w+' must be (>=|<=|==) (\d+): (\d+)")
_WORDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below", "==": "exactly"}


MOST = 10**6  # episodes, scenes, videos and rows of a batch
MOST_STEPS = 10**9  # of training
MOST_WIDTH = 10**8  # sizes of layers, which must also fit into memory
MOST_LAYERS = 1000
LARGEST_SEED = 2**31 - 1


def between(least: int, most: int) -> list[Any]:
    """Return validators for a number from ``least`` to ``most``."""
    return [attrs.validators.ge(least), attrs.validators.le(most)]


def task_weights(_: Any, attribute: attrs.Attribute[Any], value: dict[str, float]) -> None:
    """Raise ValueError for a task whose sampling weight is not above 0."""
    for name, weight in value.items():
        if not 0 < weight <= 1e6:
            raise ValueError(f"{name} must be above 0 and at most 1e6, got {weight!r}")


def message_of(err: Exception) -> str:
    """Return the message of a validator's exception, in the form of all other messages.

    ``'steps' must be >= 1: 0``, which ``attrs.validators`` raises, becomes
    ``must be at least 1, got 0``.
    """
    message = str(err.args[0]) if err.args else type(err).__name__
    if match := _LENGTH.fullmatch(message):
        comparison, bound, length = match.groups()
        items = "item" if bound == "1" else "items"
        return f"must have {_WORDS[comparison]} {bound} {items}, got {length}"
    if match := _BOUND.fullmatch(message):
        comparison, bound, value = match.groups()
        return f"must be {_WORDS[comparison]} {bound}, got {value}"
    return message if message[1:2].isupper() else f"{message[:1].lower()}{message[1:]}"
