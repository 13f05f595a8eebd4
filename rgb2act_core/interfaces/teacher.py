"""What a point-cloud teacher implements.

Shapes: B = batch, P = points, D = embedding width, G = groups of a cloud, C = channels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs

from .episode import PointCloud

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen(kw_only=True)
class TeacherInfo:
    """Say what a built teacher yields."""

    dim: int  # D
    description: str = ""
    groups: tuple[int, int] | None = None  # number and width of a cloud's group tokens, if any


class Teacher(Protocol):
    """Turn point clouds into embeddings; frozen."""

    info: TeacherInfo

    def embed(self, clouds: Sequence[PointCloud]) -> Tensor:
        """Return embeddings (B, D) float32, one a cloud, not normalised."""

    def to(self, device: torch.device) -> Teacher:
        """Move the weights."""


@runtime_checkable
class GroupTokenTeacher(Protocol):
    """Give a token for each group of a cloud's points besides: what a ``Teacher`` may offer.

    Local losses look at them. Its component has ``groups=True``, as a spec is checked before
    anything is built, and its info says how many there are and how wide.
    """

    def embed_groups(self, clouds: Sequence[PointCloud]) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) as ``embed`` does, and float32 tokens (B, G, C)."""
