"""What the checks of recorded data report, and how an environment adds its own."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs


class Severity(StrEnum):
    """How serious a finding is."""

    ERROR = "error"
    """Training on the data would give a wrong policy; ``check`` and ``run`` stop."""
    WARNING = "warning"
    """The data is probably faulty; runs record it and go on."""
    NOTE = "note"
    """Worth knowing."""


@attrs.frozen(kw_only=True)
class Finding:
    """One problem of recorded data."""

    severity: Severity
    rule: str
    """Name of the rule. Those of an environment start with its component's name and a dot, as in
    ``robotwin.vector``."""
    source: str
    """The file or the episode."""
    problem: str
    """What is wrong, with the value: lowercase, no full stop."""
    remedy: str
    """The key or the command that settles it."""
    frame: int | None = None
    """The first affected frame of the episode, if the problem has one."""
    subject: str = ""
    """The joint, camera or array. Findings of one rule about one subject are shown as one."""
    others: int = 0
    """Number of further episodes with the same problem."""

    def __str__(self) -> str:
        frame = "" if self.frame is None else f": frame {self.frame}"
        others = f" (and in {self.others} other episodes)" if self.others > 1 else ""
        others = " (and in 1 other episode)" if self.others == 1 else others
        return f"{self.source}{frame}: {self.problem}{others}; {self.remedy} [{self.rule}]"


@runtime_checkable
class DataChecks(Protocol):
    """An ``Environment`` with rules of its own for its recorded data.

    Declared by ``Capability.DATA_CHECKS``.
    """

    def check_data(self) -> Iterable[Finding]:
        """Yield what is wrong with the recorded files, beyond what ``recorded`` refuses.

        Called by ``check``, ``run`` and ``inspect``. It must be quick: read arrays of numbers
        completely, but only a sample of images and point clouds.
        """
