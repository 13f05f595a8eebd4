"""The run spec: what a TOML file may say, as frozen records; a module for each stage's tables.

Fields with ``metadata={"runtime": True}`` change no result and are part of no key. Those with
``metadata={"later": True}`` are part of none while they hold their default, which says what was
so before there was such a field: results of that time are found again.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from ..interfaces import fields
from .act import Act
from .align import TAUS, Align, AlignLoss, Augment, Context
from .checks import at_least, within
from .choices import (
    CHOICES,
    BackboneChoice,
    Choice,
    EnvironmentChoice,
    FusionChoice,
    HeadChoice,
    TeacherChoice,
)
from .data import Collect, Extract, Tokens
from .policy import ClosedLoop, Policy

__all__ = [
    "CHOICES",
    "TAUS",
    "Act",
    "Align",
    "AlignLoss",
    "Augment",
    "BackboneChoice",
    "Choice",
    "ClosedLoop",
    "Collect",
    "Compute",
    "Context",
    "EnvironmentChoice",
    "Extract",
    "FusionChoice",
    "HeadChoice",
    "Policy",
    "Spec",
    "TeacherChoice",
    "Tokens",
]


def _name(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value) or value == "store":
        raise ValueError(
            f"must be letters, digits, '-', '_' or '.' and not 'store', got {value!r};"
            " it names the run's folder"
        )


@attrs.frozen(kw_only=True)
class Compute:
    """Say what to run on; changes no result, so it is part of no key."""

    device: str = fields.runtime(default="auto")
    """``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``; with ``auto`` all GPUs share the
    extraction, and the rest runs on the first."""
    simulator_workers: int = fields.runtime(default=0, validator=at_least(0))
    """Processes that simulate; 0 is one a core."""
    threads: int = fields.runtime(default=0, validator=at_least(0))
    """Threads of torch; 0 lets torch choose."""
    checkpoint_seconds: float = fields.runtime(default=30.0, validator=at_least(0))
    """Time between training checkpoints."""

    def __attrs_post_init__(self) -> None:
        """Refuse a device that torch has no name for."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu, mps, cuda or cuda:N, got {self.device!r}")


def _tasks(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Refuse no task, and the same one twice."""
    if not isinstance(value, tuple):
        return
    if not value:
        raise ValueError("is an empty list; name at least one task")
    for i, choice in enumerate(value):
        if choice in value[:i]:
            raise ValueError(
                f"number {i + 1} says the same as number {value.index(choice) + 1};"
                " name each task once, and weigh it with task_weights"
            )


def _one_alone(
    value: EnvironmentChoice | tuple[EnvironmentChoice, ...],
) -> EnvironmentChoice | tuple[EnvironmentChoice, ...]:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


@attrs.frozen(kw_only=True)
class Spec:
    """Describe one run."""

    name: str = attrs.field(validator=_name)
    """Name of the run's folder."""
    seed: int = attrs.field(default=0, validator=within(0, 2**31 - 1))
    """Seed of everything that is drawn."""
    environment: EnvironmentChoice | tuple[EnvironmentChoice, ...] = attrs.field(
        validator=_tasks, converter=_one_alone
    )
    """Where demonstrations come from and where the policy acts; as ``[[environment]]``, one table
    for each of several tasks that one policy learns."""
    collect: Collect = attrs.field(default=Collect())
    """Recording of demonstrations."""
    backbone: tuple[BackboneChoice, ...] = attrs.field(validator=attrs.validators.min_len(1))
    """Vision backbones, one table each."""
    teacher: TeacherChoice
    """Point-cloud teacher."""
    extract: Extract = attrs.field(default=Extract())
    """Feature extraction."""
    align: Align
    """Alignment of RGB to the teacher."""
    policy: Policy
    """Policy and its training."""
    act: Act = attrs.field(default=Act())
    """Closed-loop evaluation."""
    compute: Compute = Compute()
    """Device, processes, threads."""

    @property
    def environments(self) -> tuple[EnvironmentChoice, ...]:
        """Return the environment of each task."""
        return self.environment if isinstance(self.environment, tuple) else (self.environment,)
