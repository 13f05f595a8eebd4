"""Validators that the fields of a spec share."""

from __future__ import annotations

from typing import Any

import attrs


def at_least(low: float) -> Any:
    """Return a validator of numbers from ``low`` on."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not value >= low:
            raise ValueError(f"must be at least {low}, got {value!r}")

    return check


def above(low: float) -> Any:
    """Return a validator of numbers above ``low``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not value > low:
            raise ValueError(f"must be above {low}, got {value!r}")

    return check


def within(low: float, high: float) -> Any:
    """Return a validator of numbers from ``low`` to ``high``."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, got {value!r}")

    return check


def weights(_: Any, attribute: attrs.Attribute[Any], value: dict[str, float]) -> None:
    """Refuse weights of tasks that are not above 0."""
    for name, weight in value.items():
        if not 0 < weight <= 1e6:
            raise ValueError(f"{name} must be above 0 and at most 1e6, got {weight!r}")


def optional(check: Any) -> Any:
    """Return a validator that lets None through besides."""
    return attrs.validators.optional(check)


def default(kind: type, name: str) -> Any:
    """Return the default of a record's field."""
    return attrs.fields_dict(kind)[name].default
