"""One policy head per task.

Shapes: B = batch, P = plans for each row, S = horizon, A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..interfaces import Plans, PolicyModule
from ..training.row_draws import RowDraws
from .shared_batch import SharedBatch

Sampler = Callable[[PolicyModule, Sequence[torch.Generator]], Plans]  # plans of one head, all rows


class TaskHeads(nn.Module):
    """A policy head for each task; every row uses the head of its task."""

    def __init__(self, each: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(each)

    def loss(self, task_B: Tensor, *args: Tensor) -> Tensor:
        """Return the mean of the heads' losses, weighted by their rows.

        ``args`` are the arguments of ``PolicyModule.loss``; a head receives the rows of its task.
        ``task_B`` is on the CPU, so that no step waits for an accelerator.
        """
        parts = []
        for index, head in enumerate(self.each):
            rows = torch.from_numpy(np.flatnonzero(task_B.numpy() == index))
            if len(rows):
                loss = as_policy_module(head).loss(*(arg[rows] for arg in args))
                parts.append(loss * (len(rows) / len(task_B)))
        return torch.stack(parts).sum()

    def shared_loss(self, batch: SharedBatch, task_N: Tensor, *args: Tensor) -> Tensor:
        """Return this process's share of the loss of a batch that several processes divide."""
        parts = [args[0].new_zeros(())]
        for index, head in enumerate(self.each):
            if not batch.task_share(index):
                continue
            rows = torch.from_numpy(np.flatnonzero(task_N.numpy() == index))
            drawn = batch.rows_of(index)
            with RowDraws({max(len(rows), 1): drawn}):
                if len(rows):
                    loss = as_policy_module(head).loss(*(arg[rows] for arg in args))
                    parts.append(loss * (batch.fraction(index) * batch.task_share(index)))
                else:
                    with torch.no_grad():
                        as_policy_module(head).loss(*(arg[:1] for arg in args))
        return torch.stack(parts).sum()

    def plans(
        self, task_B: Tensor, generators: Sequence[torch.Generator], sample: Sampler
    ) -> Plans:
        """Return what ``sample`` returns for each row with the head of its task.

        Each head in use gets all rows, with spare generators for those of other tasks, so that a
        row's plan does not depend on the tasks of the others.
        """
        parts: list[tuple[Tensor, Plans]] = []
        for index in task_B.unique().tolist():
            mine = task_B == index
            own = [
                generator if its_own else torch.Generator()
                for generator, its_own in zip(generators, mine.tolist(), strict=True)
            ]
            plans = sample(as_policy_module(self.each[index]), own)
            parts.append((mine[:, None, None, None].to(plans.actions.device), plans))
        merged = parts[0][1]
        for mask, plans in parts[1:]:
            merged = _where(mask, plans, merged)
        return merged


def as_policy_module(module: nn.Module) -> PolicyModule:
    """Return a head's module under the type of its interface."""
    return cast(PolicyModule, module)  # checked by the conformance kit


def _where(mask: Tensor, chosen: Plans, other: Plans) -> Plans:
    clipped_by = None
    if chosen.clipped_by is not None and other.clipped_by is not None:
        clipped_by = torch.where(mask, chosen.clipped_by, other.clipped_by)
    return Plans(actions=torch.where(mask, chosen.actions, other.actions), clipped_by=clipped_by)
