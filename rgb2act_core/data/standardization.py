"""Mean and standard deviation of each channel of a data set.

Shapes: N = samples, C = channels
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

FLOOR = 1e-4  # default for the smallest standard deviation that is divided by


@attrs.frozen(eq=False, kw_only=True)
class Standardization:
    """Subtract the mean and divide by the standard deviation."""

    mean: Tensor  # (C,) float32
    std: Tensor  # (C,) float32, at least the floor

    @classmethod
    @torch.no_grad()
    def of(cls, values_NC: Tensor, floor: float = FLOOR) -> Standardization:
        """Return the statistics of samples, computed in float64.

        The standard deviation is the unbiased one; that of a single sample is the floor.
        """
        values_NC = values_NC.double()
        std_C = values_NC.std(0, correction=min(1, len(values_NC) - 1)).clamp_min(floor)
        return cls(mean=values_NC.mean(0).float(), std=std_C.float())

    def __call__(self, values: Tensor) -> Tensor:
        """Return standardised values (..., C)."""
        return (values - self.mean) / self.std

    @torch.no_grad()
    def copy_to(self, mean: Tensor, std: Tensor) -> None:
        """Copy the statistics into a module's buffers (C,) and (C,)."""
        mean.copy_(self.mean)
        std.copy_(self.std)
