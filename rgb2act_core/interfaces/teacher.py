"""What a point-cloud teacher implements.

Shapes: B = batch, P = points, D = size of an embedding, G = groups of a point cloud, C = channels
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
    """Properties of a built teacher."""

    dim: int
    """Size D of an embedding."""
    description: str = ""
    """Model and preprocessing, stored with the embeddings."""
    groups: tuple[int, int] | None = None
    """Number G and channels C of a cloud's group tokens; None for a teacher without them."""


class Teacher(Protocol):
    """A frozen model that turns point clouds into embeddings."""

    info: TeacherInfo

    def embed(self, clouds: Sequence[PointCloud]) -> Tensor:
        """Return one embedding per cloud: (B, D) float32 without a gradient, not normalised.

        Raises UserError for a cloud without points.
        """

    def to(self, device: torch.device) -> Teacher:
        """Move the weights to a device and return the teacher."""


@runtime_checkable
class GroupTokenTeacher(Protocol):
    """A ``Teacher`` that also returns tokens for groups of a cloud's points.

    The local losses of alignment use them. Declared by ``Capability.GROUP_TOKENS``;
    ``TeacherInfo.groups`` has their number and size.
    """

    def embed_groups(self, clouds: Sequence[PointCloud]) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) as ``embed`` does, and float32 tokens (B, G, C)."""
