"""Which rows form the batch of each training step.

Shapes: N = rows to draw from, B = rows of a batch
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .randomness import Purpose, step_generator

Rows = NDArray[np.int64]


class BatchSampler:
    """Random batches that depend on the seed and the step only.

    Args:
        rows: the rows (N,) to draw from.
        batch_size: B; without replacement at most N.
        seed: seed of the run.
        replacement: whether a row may occur several times in a batch.
        weights: sampling weights (N,), positive; None draws all rows equally often. A row of
            weight 2 is drawn twice as often as a row of weight 1.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        seed: int,
        *,
        replacement: bool,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.rows, self.seed, self.replacement = rows, seed, replacement
        self.batch_size = batch_size if replacement else min(batch_size, len(rows))
        self.weights_N: Tensor | None = None
        if weights is not None and len(np.unique(weights)) > 1:
            self.weights_N = torch.from_numpy(weights)
            self.cumulative_N = self.weights_N.cumsum(0)

    def indices(self, step: int) -> Rows:
        """Return the rows (B,) of a step's batch."""
        generator = step_generator(self.seed, step, Purpose.ROWS)
        draw = self._with_replacement if self.replacement else self._without_replacement
        rows: Rows = self.rows[draw(generator).numpy()]
        return rows

    def _with_replacement(self, generator: torch.Generator) -> Tensor:
        if self.weights_N is None:
            return torch.randint(len(self.rows), (self.batch_size,), generator=generator)
        points = torch.rand(self.batch_size, dtype=torch.float64, generator=generator)
        found = torch.searchsorted(self.cumulative_N, points * self.cumulative_N[-1], right=True)
        return found.clamp_max(len(self.rows) - 1)

    def _without_replacement(self, generator: torch.Generator) -> Tensor:
        if self.weights_N is None:
            return torch.randperm(len(self.rows), generator=generator)[: self.batch_size]
        # Efraimidis and Spirakis 2006: the rows with the largest u ** (1 / weight)
        uniform_N = torch.rand(len(self.rows), dtype=torch.float64, generator=generator)
        return (uniform_N.log() / self.weights_N).topk(self.batch_size).indices
