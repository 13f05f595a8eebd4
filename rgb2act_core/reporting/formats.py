"""Numbers, times and specs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from ..system.formatting import format_duration


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """Return an integer as it is, a metric with four digits, or with two decimals from 1 on."""
    if value is None:
        return "-"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """Return a duration, or a dash if it is unknown."""
    return "-" if seconds is None else format_duration(seconds)


def toml(table: Mapping[str, Any]) -> str:
    """Return nested mappings as TOML; None is left out."""
    return tomli_w.dumps(_without_none(table))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value
