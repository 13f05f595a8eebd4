"""A batch of samples that several training processes divide.

Shapes: B = samples of all processes, N = those of this process
"""

from __future__ import annotations

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from ..training.row_draws import RowSet


@attrs.frozen(eq=False, kw_only=True)
class SharedBatch:
    """What a process must know of the samples of the others.

    A head's loss is a mean over the steps that are trained on, so a process's share of it is
    weighted with the number of its steps.
    """

    task_B: NDArray[np.int64]
    steps_B: NDArray[np.int64]  # trained on
    own: slice  # this process's samples

    def fraction(self, task: int | None = None) -> float:
        """Return the fraction of the steps, of one task or of all, that are this process's."""
        steps_B = self.steps_B if task is None else self.steps_B * (self.task_B == task)
        return float(steps_B[self.own].sum() / max(steps_B.sum(), 1))

    def task_share(self, task: int) -> float:
        """Return the fraction of all samples that are of one task."""
        return float((self.task_B == task).mean())

    def rows(self) -> RowSet:
        """Return this process's samples among all."""
        positions = torch.arange(self.own.start, self.own.stop)
        return RowSet(len(self.task_B), positions)

    def rows_of(self, task: int) -> RowSet:
        """Return this process's samples of a task among those of all processes.

        A process without any gets the first, so that it draws as many random numbers as the others.
        """
        every = np.flatnonzero(self.task_B == task)
        own = np.flatnonzero((every >= self.own.start) & (every < self.own.stop))
        return RowSet(len(every), torch.from_numpy(own if len(own) else np.arange(1)))
