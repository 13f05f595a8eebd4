"""What a plugin yields: components of five kinds, and commands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..interfaces import DatasetSummary

if TYPE_CHECKING:
    from ..interfaces import Diagnostic


class Kind(StrEnum):
    """The five roles a component can play in a run."""

    BACKBONE = "backbone"
    TEACHER = "teacher"
    FUSION = "fusion"
    POLICY_HEAD = "policy_head"
    ENVIRONMENT = "environment"

    @property
    def label(self) -> str:
        """The kind in words, as in ``policy head``."""
        return self.replace("_", " ")

    @property
    def hook(self) -> str:
        """Return the name of the hook that yields components of this kind."""
        return f"rgb2act_{self}s"


@attrs.frozen(kw_only=True)
class Component:
    """Name one thing that a spec can use.

    ``config`` is a frozen attrs class: its fields are what the spec's table may say. ``build``
    takes an instance of it and returns what the kind's Protocol in ``records`` asks for; torch
    and the like are imported there and nowhere earlier. ``tiny`` is a config that needs no file
    and runs on a CPU within a second. Raise ``version`` when the same config begins to give
    other numbers: it is part of every key that depends on the component.

    Config fields may carry metadata: ``{"runtime": True}`` for what cannot change a result
    (never part of a key), ``{"file": True}`` for a path that enters the key by its content,
    ``{"weights": True}`` for a string that is ``"hub"``, ``"random"`` or such a path; a config
    with the latter has a property ``official`` that returns an ``official.Official``.

    ``inspect``, of an environment that reads recorded data sets, returns what lies at a path as an
    ``interfaces.Overview``, or None when that is no data set of its kind.

    ``diagnose`` says of a config what ``rgb2act doctor`` shows besides files and weights: each
    thing that the component needs on this machine as a ``interfaces.Finding``.
    """

    name: str
    config: type
    build: Callable[[Any], Any]
    tiny: Any
    version: int = 1
    summary: str = ""
    inspect: Callable[[Path], DatasetSummary | None] | None = None
    diagnose: Callable[[Any], Iterable[Diagnostic]] | None = None
    groups: bool = False  # of a teacher: it meets ``interfaces.Grouped``


@attrs.frozen(kw_only=True)
class Command:
    """Name one command that a plugin adds to ``rgb2act``.

    ``arguments`` adds the command's arguments to its parser; ``run`` takes what was parsed and
    returns the exit code: 0, 1 for not passed. It raises UserError for what a user can mend. What
    is heavy is imported in ``run``.
    """

    name: str
    summary: str  # one line, lowercase, no full stop
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
