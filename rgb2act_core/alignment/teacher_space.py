"""The space in which student and teacher are compared, and the statistics that make it.

Raw embeddings of a teacher are nearly parallel. What is taken off and divided by is computed once
for the training frames of a data set, kept beside the embeddings, and copied into each aligner.

Shapes: F = frames, D = width of the teacher's embedding
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import torch
from torch import Tensor

from ..store.tensors import read_tensors, write_tensors

Space = Literal["raw", "centred", "standardised", "whitened"]
FLOOR = 1e-4  # smallest deviation that is divided by


@attrs.frozen(eq=False, kw_only=True)
class Statistics:
    """Hold what is known of the teacher's embeddings of a data set's training frames."""

    mean: Tensor  # (D,)
    std: Tensor  # (D,), at least 1e-4
    covariance: Tensor | None = None  # (D, D), where the space needs it


@attrs.frozen(eq=False, kw_only=True)
class Map:
    """Bring embeddings into a space: (e - mean) / std, then turned where the space is whitened."""

    mean: Tensor  # (D,)
    std: Tensor  # (D,)
    turn: Tensor | None = None  # (D, D)

    def __call__(self, embedding_FD: Tensor) -> Tensor:
        """Return embeddings (F, D) in the space."""
        scaled = (embedding_FD - self.mean) / self.std
        return scaled if self.turn is None else scaled @ self.turn


def measure(embedding_FD: Tensor, covariance: bool) -> Statistics:
    """Return the statistics of training embeddings."""
    values = embedding_FD.double()
    mean, std = values.mean(0), values.std(0, correction=min(1, len(values) - 1))
    spread = None
    if covariance:
        centred = values - mean
        spread = (centred.T @ centred / max(len(values) - 1, 1)).float()
    return Statistics(mean=mean.float(), std=std.clamp_min(FLOOR).float(), covariance=spread)


def stored(place: Path, measured: Callable[[], Statistics]) -> Statistics:
    """Return the statistics kept at a path, measured and written there if they are not yet."""
    if not place.exists():
        found = measured()
        tensors = {"mean": found.mean, "std": found.std}
        if found.covariance is not None:
            tensors["covariance"] = found.covariance
        write_tensors(place, {name: tensor.cpu() for name, tensor in tensors.items()}, {})
    tensors, _ = read_tensors(place)
    return Statistics(
        mean=tensors["mean"], std=tensors["std"], covariance=tensors.get("covariance")
    )


def map_to(space: Space, statistics: Statistics, floor: float) -> Map:
    """Return the map into a space; deviations are at least ``floor`` of their root mean square."""
    mean, std = statistics.mean.clone(), statistics.std.clone()
    if space == "raw":
        return Map(mean=torch.zeros_like(mean), std=torch.ones_like(std))
    if space == "centred":
        return Map(mean=mean, std=torch.ones_like(std))
    if space == "standardised":
        return Map(mean=mean, std=std.clamp_min(floor * std.square().mean().sqrt()))
    assert statistics.covariance is not None
    values, vectors = torch.linalg.eigh(statistics.covariance.double())
    spread = values.clamp_min(0).sqrt()
    spread = spread.clamp_min(max(floor * float(values.clamp_min(0).mean().sqrt()), FLOOR))
    turn = (vectors / spread) @ vectors.T  # back on the teacher's own axes (ZCA)
    return Map(mean=mean, std=torch.ones_like(std), turn=turn.float())
