"""One policy head a task.

Shapes: B = batch, O = observations, D = width of one, S = horizon, A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Draw = Callable[[nn.Module, Sequence[torch.Generator]], Tensor]  # plans of one head, all rows


class Heads(nn.Module):
    """Lead each row to the head of its task."""

    def __init__(self, each: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(each)

    def loss(self, task_B: Tensor, *given: Tensor) -> Tensor:
        """Return the mean of the heads' losses, each weighed by its rows; none trains on others'.

        ``given`` is what ``PolicyModule.loss`` takes.
        """
        parts = []
        for place, head in enumerate(self.each):
            rows = torch.nonzero(task_B == place).flatten()
            if len(rows):
                loss: Any = head.loss  # a method of PolicyModule
                parts.append(loss(*(part[rows] for part in given)) * (len(rows) / len(task_B)))
        return torch.stack(parts).sum()

    def draw(self, task_B: Tensor, generators: Sequence[torch.Generator], draw: Draw) -> Tensor:
        """Return what ``draw`` makes of each row with the head of its task.

        Each head that is asked gets all rows, with spare generators for those of other tasks, so
        that a row's plan does not depend on what the others are.
        """
        plans: Tensor | None = None
        for place in task_B.unique().tolist():
            mine = task_B == place
            own = [
                generator if its_own else torch.Generator()
                for generator, its_own in zip(generators, mine.tolist(), strict=True)
            ]
            drawn = draw(self.each[place], own)
            mine = mine.view(-1, *(1 for _ in drawn.shape[1:]))
            plans = drawn if plans is None else torch.where(mine, drawn, plans)
        assert plans is not None
        return plans
