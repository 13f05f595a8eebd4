"""The run spec: the tables of a TOML file as frozen attrs classes, with one module per stage.

``interfaces.fields`` declares the fields that are not part of cache keys.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
from attrs.validators import ge, min_len

from ..interfaces import fields
from .act import Act
from .align import LEARNED_TEMPERATURES, Align, AlignLoss, Augment, Context
from .choices import (
    CHOICES,
    BackboneChoice,
    Choice,
    EnvironmentChoice,
    FusionChoice,
    HeadChoice,
    LoggerChoice,
    StudentChoice,
    TeacherChoice,
)
from .data import Collect, Extract, Tokens
from .distill import Distill, DistillLoss, ImageAugment
from .policy import ClosedLoop, PolicySpec
from .validators import LARGEST_SEED, between

__all__ = [
    "CHOICES",
    "LEARNED_TEMPERATURES",
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
    "Distill",
    "DistillLoss",
    "EnvironmentChoice",
    "Extract",
    "FusionChoice",
    "HeadChoice",
    "ImageAugment",
    "LoggerChoice",
    "PolicySpec",
    "Spec",
    "StudentChoice",
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
    """Device, processes and threads. They do not change results."""

    device: str = fields.runtime(default="auto")
    """``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``. With ``auto``, features are extracted on
    all GPUs and everything else runs on the first."""
    devices: int = fields.runtime(default=1, validator=between(1, 64))
    """Processes that train aligner and policy together, each on a GPU of its own or with a share of
    the CPU cores. They divide the batches, so results differ by rounding only. They run on this
    machine, or on those of the engine. Without an engine, torchrun starts them on several."""
    simulator_workers: int = fields.runtime(default=0, validator=between(0, 1000))
    """Simulator processes; 0 for one per CPU core."""
    threads: int = fields.runtime(default=0, validator=between(0, 1000))
    """Threads of torch; 0 for torch's own default."""
    engine: str = fields.runtime(default="local")
    """Engine that runs ``collect``, ``extract`` and ``act`` in shards, and training by several
    ``devices``: ``local``, or one of a plugin, such as ``ray``."""
    engine_workers: int = fields.runtime(default=0, validator=between(0, 10000))
    """Shards that an engine runs at the same time. With 0, the engine chooses, and ``local`` does
    everything in one process."""
    engine_address: str = fields.runtime(default="")
    """Address of the engine's cluster; empty for the engine's default."""
    checkpoint_seconds: float = fields.runtime(default=30.0, validator=ge(0))
    """Seconds between training checkpoints."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for an invalid device name."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ValueError(f"device must be auto, cpu, mps, cuda or cuda:N, got {self.device!r}")
        if self.devices > 1 and (":" in self.device or self.device == "mps"):
            raise ValueError(
                f"devices = {self.devices} contradicts device = {self.device!r}, which is a single"
                " one; remove one of them"
            )


def _tasks(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Raise ValueError for an empty list of tasks and for duplicates."""
    if not isinstance(value, tuple):
        return
    if not value:
        raise ValueError("is an empty list; name at least one task")
    for i, choice in enumerate(value):
        if choice in value[:i]:
            raise ValueError(
                f"number {i + 1} is the same as number {value.index(choice) + 1}; list each task"
                " once, and use task_weights to sample it more often"
            )


def _unpack_single(
    value: EnvironmentChoice | tuple[EnvironmentChoice, ...],
) -> EnvironmentChoice | tuple[EnvironmentChoice, ...]:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


@attrs.frozen(kw_only=True)
class Spec:
    """A run."""

    name: str = attrs.field(validator=_name)
    """Name of the run and of its folder."""
    seed: int = attrs.field(default=0, validator=between(0, LARGEST_SEED))
    """Seed of all random numbers."""
    environment: EnvironmentChoice | tuple[EnvironmentChoice, ...] = attrs.field(
        validator=_tasks, converter=_unpack_single
    )
    """Environment that provides the demonstrations and in which the policy acts. To train one
    policy on several tasks, write one ``[[environment]]`` table per task."""
    collect: Collect = attrs.field(default=Collect())
    """Demonstrations to record."""
    backbone: tuple[BackboneChoice, ...] = attrs.field(validator=min_len(1))
    """Vision backbones, one table per backbone."""
    teacher: TeacherChoice | None = None
    """Point-cloud teacher; required if a condition trains an aligner or observes the teacher, and
    for ``policy.train_on = "teacher"``. For aligners that are not trained on it, it only sets the
    width of the embedding."""
    extract: Extract = attrs.field(default=Extract())
    """Extraction and storage of features."""
    align: Align | None = None
    """Alignment of RGB features to the teacher; required if a condition has an aligner."""
    distill: Distill | None = None
    """Distillation of backbones and aligner into a student that sees RGB only. Without the table,
    there is no student."""
    policy: PolicySpec
    """The policy and its training."""
    act: Act = attrs.field(default=Act())
    """Closed-loop evaluation of the policy."""
    compute: Compute = Compute()
    """Device, processes and threads."""
    log: tuple[LoggerChoice, ...] = fields.runtime(default=())
    """Loggers that receive curves, results, images and videos, one ``[[log]]`` table per logger.
    Without a table, ``tensorboard``."""

    @property
    def environments(self) -> tuple[EnvironmentChoice, ...]:
        """Return the environment of each task, also if there is only one."""
        return self.environment if isinstance(self.environment, tuple) else (self.environment,)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Return all components that the spec chooses."""
        teacher = () if self.teacher is None else (self.teacher,)
        fusion = () if self.align is None else (self.align.fusion,)
        student = () if self.distill is None else (self.distill.student,)
        head = self.policy.head
        models = (*self.backbone, *teacher, *fusion, *student, head)
        return (*self.environments, *models, *self.log)
