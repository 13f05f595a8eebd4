"""An array whose frames are compared with their checksums when they are first read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CheckedFrames:
    """Frames (T, ...) of a stored array, read-only; only the frames that are read are checked.

    Indexing raises UserError if a frame was altered.
    """

    def __init__(self, array: NDArray[Any], check: Callable[[int, NDArray[Any]], None]) -> None:
        self._array, self._check = array, check
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        frames = index[0] if isinstance(index, tuple) else index
        if isinstance(frames, int | np.integer) and 0 <= frames < len(self._array):
            self._check(int(frames), self._array)
        else:
            for t in np.atleast_1d(np.arange(len(self._array))[frames]).reshape(-1).tolist():
                self._check(t, self._array)
        found: NDArray[Any] = self._array[index]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype, copy=copy)
