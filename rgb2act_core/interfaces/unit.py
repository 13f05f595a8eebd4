"""Units of joints and actions."""

from __future__ import annotations

from enum import StrEnum


class Unit(StrEnum):
    """The unit of one action dimension."""

    RADIANS = "radians"
    DEGREES = "degrees"
    METRES = "metres"
    MILLIMETRES = "millimetres"
    FRACTION = "fraction"
    """0 to 1, as grippers."""
    PERCENT = "percent"
    """0 to 100, or -100 to 100."""
    OTHER = "other"
    """Any other scale; the checks of units are skipped."""
