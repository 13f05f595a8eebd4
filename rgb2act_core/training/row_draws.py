"""Random numbers of a batch whose rows are divided among several processes.

Modules and losses draw one random number for each element of a batch. A process that computes some
of the rows must draw what a single process would draw for them. While ``RowDraws`` is entered, each
draw whose first dimension is the number of this process's rows is made for all rows, and this
process's rows of it are returned. Other draws are the same in all processes, because their
generators are.

Dropout in fused attention kernels can't be intercepted: there, each process draws for its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor
from torch.overrides import TorchFunctionMode

BY_SIZE = ("rand", "randn")
BY_LAST_SIZE = ("randint",)
LIKE = ("rand_like", "randn_like", "randint_like", "bernoulli")
IN_PLACE = ("normal_", "uniform_", "random_", "exponential_")


@attrs.frozen(eq=False)
class RowSet:
    """This process's rows among all rows of a batch."""

    total: int
    positions: Tensor  # of this process's rows, on the CPU


class RowDraws(TorchFunctionMode):
    """Draw for all rows and return those of this process.

    Args:
        sets: the rows by their number in this process, for example those of samples and those of
            the samples' frames. Nested uses replace them.
    """

    _entered: ClassVar[list[RowDraws]] = []

    def __init__(self, sets: Mapping[int, RowSet]) -> None:
        super().__init__()
        self.sets = dict(sets)

    def __enter__(self) -> RowDraws:
        self._entered.append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._entered.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, options = getattr(func, "__name__", ""), dict(kwargs or {})
        if self is not self._entered[-1]:
            return func(*args, **options)
        if name in BY_SIZE:
            return self._by_size(func, args, options)
        if name in BY_LAST_SIZE:
            return self._by_last_size(func, args, options)
        if name in LIKE and (rows := self._rows(args[0].shape)):
            whole = _for_all(args[0], rows)
            return _own(func(whole, *args[1:], **options), rows)
        if name in IN_PLACE and (rows := self._rows(args[0].shape)):
            whole = func(torch.empty_like(_for_all(args[0], rows)), *args[1:], **options)
            return args[0].copy_(_own(whole, rows))
        if name == "dropout":
            return self._dropout(func, *args, **options)
        return func(*args, **options)

    def _rows(self, shape: Any) -> RowSet | None:
        return self.sets.get(shape[0]) if len(shape) else None

    def _by_size(self, func: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        size = options.pop("size", None)
        size = (args if args and isinstance(args[0], int) else args[0]) if size is None else size
        rows = self._rows(size)
        if rows is None:
            return func(size, **options)
        return _own(func((rows.total, *size[1:]), **options), rows)

    def _by_last_size(self, func: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        bounds = args if "size" in options else args[:-1]
        size = options.pop("size") if "size" in options else args[-1]
        rows = self._rows(size)
        if rows is None:
            return func(*bounds, size, **options)
        return _own(func(*bounds, (rows.total, *size[1:]), **options), rows)

    def _dropout(
        self,
        func: Callable[..., Any],
        values: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Any:
        rows = self._rows(values.shape)
        if rows is None or not training or not p:
            return func(values, p, training, inplace)
        kept = F.dropout(torch.ones_like(_for_all(values, rows)), p, True)
        return values.mul_(_own(kept, rows)) if inplace else values * _own(kept, rows)


def _for_all(values: Tensor, rows: RowSet) -> Tensor:
    """Return values of the same kind for all rows, this process's among them."""
    whole = values.new_zeros((rows.total, *values.shape[1:]))
    return whole.index_copy(0, rows.positions.to(values.device), values.detach())


def _own(whole: Tensor, rows: RowSet) -> Tensor:
    return whole[rows.positions.to(whole.device)]
