"""Losses and metrics of the latest steps, which stay on the device until they are shown.

Reading a number from an accelerator waits until it has finished all steps so far. The numbers of
many steps are therefore read together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from .job import Metrics
from .ranks import ALONE, Ranks
from .sampler import Rows

EVERY = 50  # steps whose numbers are read together


@attrs.frozen(eq=False, kw_only=True)
class Step:
    """The outcome of one training step, on the device."""

    number: int
    rows: Rows
    loss: Tensor
    norm: Tensor  # of the gradient, before clipping
    lr: float
    metrics: Metrics | None  # None: the step has no row in the learning curves


@attrs.frozen(eq=False, kw_only=True)
class Numbers:
    """The same as numbers."""

    step: Step
    loss: float
    norm: float
    metrics: Mapping[str, float] | None

    @property
    def is_finite(self) -> bool:
        """Return whether the loss and the gradient are."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)

    @property
    def row(self) -> Mapping[str, float] | None:
        """Return the step's row in the learning curves, if it has one."""
        if self.metrics is None:
            return None
        return {"loss": self.loss, "lr": self.step.lr, "grad_norm": self.norm, **self.metrics}


class RecentSteps:
    """The steps whose numbers were not read yet."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._steps: list[Step] = []
        self._ranks = ranks

    def add(self, step: Step) -> None:
        """Remember a step, without the graph of its metrics."""
        if step.metrics is not None:
            own = {k: torch.as_tensor(v).detach().clone() for k, v in step.metrics.items()}
            step = attrs.evolve(step, metrics=own)
        self._steps.append(step)

    def read(self, ranks: Ranks | None = None) -> list[Numbers]:
        """Return the numbers of all remembered steps and forget these.

        The device is read once. Losses and metrics are summed over the processes, which must all
        call this after the same step.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return []
        ranks = self._ranks if ranks is None else ranks
        values = iter(_to_host([v for step in steps for v in _values(step, ranks.first)], ranks))
        return [
            Numbers(
                step=step,
                loss=next(values),
                norm=next(values),
                metrics=None if step.metrics is None else {k: next(values) for k in step.metrics},
            )
            for step in steps
        ]


def _values(step: Step, first: bool) -> list[Tensor]:
    metrics = [] if step.metrics is None else step.metrics.values()
    device = step.loss.device
    # the norm is that of all processes in each, so only one adds it
    norm = step.norm if first else torch.zeros_like(step.norm)
    return [torch.as_tensor(value, device=device) for value in (step.loss, norm, *metrics)]


def _to_host(values: Sequence[Tensor], ranks: Ranks) -> list[float]:
    together = torch.cat([value.reshape(1) for value in values])
    numbers: list[float] = ranks.sum(together).tolist()
    return numbers
