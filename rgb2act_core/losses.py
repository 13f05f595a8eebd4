"""Losses of alignment.

Shapes: B = frames of a batch, D = width of the teacher's embedding
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor


def infonce(student_BD: Tensor, teacher_BD: Tensor, tau: float, alike_BB: Tensor) -> Tensor:
    """Return the two-way InfoNCE loss, scalar (eq. 1 of arXiv 2103.00020, symmetric).

    ``alike_BB`` is True where two frames are too alike to be negatives of one another; the
    diagonal, a frame with itself, always counts as the positive.
    """
    logits = F.normalize(student_BD, dim=1) @ F.normalize(teacher_BD, dim=1).T / tau
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(alike_BB & ~own, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def alike(episode_B: Tensor, step_B: Tensor, near: int) -> Tensor:
    """Return (B, B): True where two frames are of one episode and at most ``near`` steps apart."""
    same = episode_B[:, None] == episode_B[None, :]
    return same & ((step_B[:, None] - step_B[None, :]).abs() <= near)
