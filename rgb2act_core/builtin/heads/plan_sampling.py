"""What heads that sample plans share: noise by row, and values kept while parameters stay.

Shapes: B = batch, N = plans a row, S = horizon, A = action dims
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...interfaces import HeadShape

Value = TypeVar("Value")


def draw(
    shape: HeadShape, like: Tensor, generators: Sequence[torch.Generator], count: int
) -> Tensor:
    """Return noise (B * N, S, A), drawn on the CPU, row i's from ``generators[i]`` alone."""
    if len(generators) != len(like):
        raise ValueError(f"{len(like)} rows need as many generators, got {len(generators)}")
    size = (shape.horizon, shape.action_dim)  # one draw a plan: a larger one begins otherwise
    plans = [torch.randn(size, generator=g) for g in generators for _ in range(count)]
    return torch.stack(plans).to(like)


def repeat(rows: Tensor, count: int) -> Tensor:
    """Return each row ``count`` times, one after another."""
    return rows if count == 1 else rows.repeat_interleave(count, dim=0)


def check_start(start_BSA: Tensor | None, level: float, shape: HeadShape, rows: int) -> None:
    """Raise ValueError for an earlier plan or a level that sampling cannot begin at."""
    if not 0 < level <= 1:
        raise ValueError(f"level must be above 0 and at most 1, got {level!r}")
    expected = (rows, shape.horizon, shape.action_dim)
    if start_BSA is not None and start_BSA.shape != expected:
        raise ValueError(f"start_BSA must be {expected}, got {tuple(start_BSA.shape)}")
    if start_BSA is None and level != 1:
        raise ValueError(f"level = {level!r} needs start_BSA, the plan to begin at")


class Kept:
    """Keep what was made of some tensors until one of them changes."""

    def __init__(self) -> None:
        self._stamp: Any = None
        self._value: Any = None

    def get(self, sources: Iterable[Tensor], make: Callable[[], Value]) -> Value:
        """Return the kept value, made anew if a source was written to or replaced."""
        stamp = [(source.data_ptr(), source._version) for source in sources]
        if stamp != self._stamp:
            self._value, self._stamp = make(), stamp
        value: Value = self._value
        return value

    def __deepcopy__(self, memo: object) -> Kept:
        return Kept()  # the copy has other tensors
