"""Statistics of features, as LeRobot stores them per episode and for the data set.

Shapes: R = rows, D = dimensions of a feature, H W = pixels
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)

Statistics = dict[str, Any]  # lists of numbers by the names in ``NAMES``


def of_numbers(values: NDArray[Any]) -> Statistics:
    """Return the statistics of numbers (R, D), each as a list of D numbers."""
    values_RD = values.reshape(len(values), -1).astype(np.float64)
    found = {
        "min": values_RD.min(0),
        "max": values_RD.max(0),
        "mean": values_RD.mean(0),
        "std": values_RD.std(0),
    }
    found |= {name: np.quantile(values_RD, q, axis=0) for name, q in QUANTILES.items()}
    statistics: Statistics = {name: value.tolist() for name, value in found.items()}
    return statistics | {"count": [len(values_RD)]}


class PixelCounts:
    """How often each value occurs in the channels of images."""

    def __init__(self) -> None:
        self.counts = np.zeros((3, 256), np.int64)
        self.frames = 0

    def add(self, image_HW3: NDArray[np.uint8]) -> None:
        """Count the pixels of an image."""
        for channel in range(3):
            self.counts[channel] += np.bincount(image_HW3[..., channel].ravel(), minlength=256)
        self.frames += 1

    def join(self, other: PixelCounts) -> None:
        """Add the counts of other images."""
        self.counts += other.counts
        self.frames += other.frames

    def statistics(self) -> Statistics:
        """Return the statistics of the channels in 0 to 1, each nested as (3, 1, 1)."""
        levels, total = np.arange(256) / 255, self.counts.sum(1)
        mean = self.counts @ levels / total
        present = [np.flatnonzero(row) for row in self.counts]
        found = {
            "min": np.array([levels[p[0]] for p in present]),
            "max": np.array([levels[p[-1]] for p in present]),
            "mean": mean,
            "std": np.sqrt(np.maximum(self.counts @ levels**2 / total - mean**2, 0)),
        }
        below = np.cumsum(self.counts, axis=1) / total[:, None]
        for name, q in QUANTILES.items():
            found[name] = np.array([levels[np.searchsorted(row, q)] for row in below])
        statistics: Statistics = {
            name: value.reshape(3, 1, 1).tolist() for name, value in found.items()
        }
        return statistics | {"count": [self.frames]}
