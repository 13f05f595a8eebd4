"""Bytes, durations, rates and unique names as text."""

from __future__ import annotations

from collections.abc import Sequence


def format_bytes(count: float) -> str:
    """Return a number of bytes with three digits and a decimal unit, such as ``1.74 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``4.2 s``, ``3 min 5 s``, ``2 d 4 h``."""
    if seconds < 59.95:  # what .1f does not round to 60.0
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left} s"
    hours, minutes_left = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes_left} min"
    days, hours_left = divmod(hours, 24)
    return f"{days} d {hours_left} h"


def format_rate(rate: float, unit: str) -> str:
    """Return units per second, such as ``12.5 frames/s``."""
    digits = 0 if rate >= 100 else 1 if rate >= 1 else 3
    return f"{rate:,.{digits}f} {unit}/s"


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless the count is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number_duplicates(names: Sequence[str]) -> tuple[str, ...]:
    """Return unique names: duplicates get a number, so ``a, b, a`` become ``a-0, b, a-1``."""
    return tuple(
        name if names.count(name) == 1 else f"{name}-{names[:i].count(name)}"
        for i, name in enumerate(names)
    )
