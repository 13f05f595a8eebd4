"""The space in which RGB and teacher embeddings are compared.

A teacher's raw embeddings are nearly parallel. Statistics of the training frames are computed once
per data set, stored next to the embeddings, and copied into each aligner.

Shapes: F = frames, D = width of the teacher's embedding
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import torch
from torch import Tensor

from ..data.standardization import FLOOR, Standardization
from ..store.tensors import read_tensors, write_tensors

Space = Literal["raw", "centred", "standardised", "whitened"]


@attrs.frozen(eq=False, kw_only=True)
class TeacherStatistics:
    """Statistics of the teacher's embeddings of the training frames, float32."""

    mean: Tensor  # (D,)
    std: Tensor  # (D,)
    covariance: Tensor | None = None  # (D, D), if the space needs it

    @classmethod
    def of(cls, embedding_FD: Tensor, covariance: bool) -> TeacherStatistics:
        """Return the statistics of training embeddings, computed in float64."""
        scale = Standardization.of(embedding_FD)
        covariance_DD = None
        if covariance:
            centred_FD = embedding_FD.double() - embedding_FD.double().mean(0)
            count = max(len(embedding_FD) - 1, 1)
            covariance_DD = (centred_FD.T @ centred_FD / count).float()
        return cls(mean=scale.mean, std=scale.std, covariance=covariance_DD)


@attrs.frozen(eq=False, kw_only=True)
class TeacherTransform:
    """Map embeddings into a teacher space: ``(e - mean) / std``, then ``@ whitening`` if set."""

    mean: Tensor  # (D,)
    std: Tensor  # (D,)
    whitening: Tensor | None = None  # (D, D)

    def __call__(self, embedding_FD: Tensor) -> Tensor:
        """Return embeddings (F, D) in the teacher space."""
        scaled_FD = (embedding_FD - self.mean) / self.std
        return scaled_FD if self.whitening is None else scaled_FD @ self.whitening


def identity_transform(width: int) -> TeacherTransform:
    """Return the transform of an aligner that no teacher trains."""
    return TeacherTransform(mean=torch.zeros(width), std=torch.ones(width))


def load_or_compute(path: Path, compute: Callable[[], TeacherStatistics]) -> TeacherStatistics:
    """Return the statistics stored at ``path``; compute and store them if there are none."""
    if not path.exists():
        computed = compute()
        tensors = {"mean": computed.mean, "std": computed.std}
        if computed.covariance is not None:
            tensors["covariance"] = computed.covariance
        write_tensors(path, {name: tensor.cpu() for name, tensor in tensors.items()}, {})
    tensors, _ = read_tensors(path)
    return TeacherStatistics(
        mean=tensors["mean"], std=tensors["std"], covariance=tensors.get("covariance")
    )


def transform_into(space: Space, statistics: TeacherStatistics, floor: float) -> TeacherTransform:
    """Return the transform into a space.

    Standard deviations are at least ``floor`` times their root mean square over dimensions, so that
    dimensions which vary less are amplified less.
    """
    mean, std = statistics.mean.clone(), statistics.std.clone()
    if space == "raw":
        return TeacherTransform(mean=torch.zeros_like(mean), std=torch.ones_like(std))
    if space == "centred":
        return TeacherTransform(mean=mean, std=torch.ones_like(std))
    if space == "standardised":
        std = std.clamp_min(floor * std.square().mean().sqrt())
        return TeacherTransform(mean=mean, std=std)
    assert statistics.covariance is not None
    whitening = _zca(statistics.covariance, floor)
    return TeacherTransform(mean=mean, std=torch.ones_like(std), whitening=whitening)


def _zca(covariance_DD: Tensor, floor: float) -> Tensor:
    """Return the ZCA whitening matrix (D, D), which keeps the teacher's axes."""
    values, vectors = torch.linalg.eigh(covariance_DD.double())
    values = values.clamp_min(0)
    std = values.sqrt().clamp_min(max(floor * float(values.mean().sqrt()), FLOOR))
    whitening: Tensor = (vectors / std) @ vectors.T
    return whitening.float()
