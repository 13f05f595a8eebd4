"""Sequences of point clouds that are read or computed on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from ..interfaces import PointCloud


class LazyClouds(Sequence[PointCloud]):
    """Base class of lazy sequences; subclasses implement ``__len__`` and ``load``."""

    @abstractmethod
    def load(self, index: int) -> PointCloud:
        """Return one cloud; ``index`` is in ``range(len(self))``."""

    @overload
    def __getitem__(self, index: int) -> PointCloud: ...
    @overload
    def __getitem__(self, index: slice) -> list[PointCloud]: ...
    def __getitem__(self, index: int | slice) -> PointCloud | list[PointCloud]:
        chosen = range(len(self))[index]  # IndexError beyond the end
        return self.load(chosen) if isinstance(chosen, int) else [self.load(i) for i in chosen]
