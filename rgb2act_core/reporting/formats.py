"""Numbers, times and specs as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..system.formatting import format_duration


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """Return a metric with four significant digits, or with two decimals from 1 on."""
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def duration(seconds: float | None) -> str:
    """Return a duration, or a dash if it is unknown."""
    return "-" if seconds is None else format_duration(seconds)


def toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested mappings as TOML; None is left out."""
    tables = {k: v for k, v in table.items() if _is_table(v)}
    lines = [f"{k} = {_value(v)}" for k, v in table.items() if k not in tables and v is not None]
    for key, value in tables.items():
        path = f"{prefix}{key}"
        parts = [value] if isinstance(value, Mapping) else value
        name = f"[{path}]" if isinstance(value, Mapping) else f"[[{path}]]"
        lines += [f"\n{name}\n{toml(part, f'{path}.')}".rstrip() for part in parts]
    return "\n".join(lines)


def _is_table(value: Any) -> bool:
    rows = isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value)
    return isinstance(value, Mapping) or bool(rows)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{k} = {_value(v)}' for k, v in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)
