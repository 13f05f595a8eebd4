"""Losses of alignment.

Shapes: B = frames of a batch, D = width of the teacher's embedding, G = training frames,
M = backbones, W = width of fused tokens, R = rows of a block

What a large batch is compared with is held in blocks of its rows, so that memory does not grow with
the square of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..spec import LEARNED_TEMPERATURES

Alike = Callable[[slice], Tensor]  # rows -> (R, B or G), True where frames are too alike
BLOCK = 1 << 18  # pairs that are compared at once
LEAST = 64  # rows of a block that reads all embeddings
SIGMOID_BIAS = -10.0  # at the start, as most pairs are negatives (arXiv 2303.15343)


class Temperature(nn.Module):
    """Hold a learned temperature, kept within 0.01 to 1, and the bias of the sigmoid loss."""

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(tau)))
        self.bias = nn.Parameter(torch.tensor(SIGMOID_BIAS))

    def tau(self) -> Tensor:
        """Return the temperature, a scalar."""
        low, high = (-math.log(tau) for tau in reversed(LEARNED_TEMPERATURES))
        with torch.no_grad():  # the parameter itself: beyond a bound no gradient would lead back
            self.log_scale.clamp_(low, high)
        return torch.exp(-self.log_scale)


def in_blocks(
    part: Callable[[Tensor, slice], Tensor], rows_B: Tensor, width: int, least: int = 1
) -> Tensor:
    """Return the sum of what ``part`` gives for blocks of rows (B, ...).

    Each row makes ``width`` pairs; a block makes up to BLOCK, but has so many rows at least. What
    several blocks come to is computed again for the gradient.
    """
    rows = max(least, BLOCK // width)
    if len(rows_B) <= rows:
        return part(rows_B, slice(0, len(rows_B)))
    values = [
        checkpoint(
            part, some, slice(i, i + len(some)), use_reentrant=False, preserve_rng_state=False
        )
        for i, some in zip(range(0, len(rows_B), rows), rows_B.split(rows), strict=True)
    ]
    return torch.stack(values).sum()


def infonce(student_BD: Tensor, teacher_BD: Tensor, tau: float | Tensor, alike: Alike) -> Tensor:
    """Return the two-way InfoNCE loss, scalar (eq. 1 of arXiv 2103.00020, symmetric).

    ``alike`` tells which frames are too alike to be negatives of one another, the same both ways; a
    frame with itself always counts as the positive.
    """
    student, teacher = F.normalize(student_BD, dim=1), F.normalize(teacher_BD, dim=1)
    count = len(student)
    target = torch.arange(count, device=student.device)
    if count**2 > BLOCK:
        there = _one_way(student, teacher, target, tau, alike)
        return (there + _one_way(teacher, student, target, tau, alike)) / 2
    logits = student @ teacher.T / tau  # one product for both ways
    own = torch.eye(count, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(alike(slice(0, count)) & ~own, -torch.inf)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def infonce_bank(
    student_BD: Tensor,
    teacher_BD: Tensor,
    bank_GD: Tensor,
    place_B: Tensor,
    tau: float | Tensor,
    alike: Alike,
    alike_bank: Alike,
) -> Tensor:
    """Return InfoNCE whose student looks for its teacher among all training frames.

    The teacher is frozen, so its embeddings never grow stale. Its own direction is within the
    batch, as in ``infonce``. ``place_B`` is where in the bank each frame's own embedding is; the
    bank's are of length 1.
    """
    student, teacher = F.normalize(student_BD, dim=1), F.normalize(teacher_BD, dim=1)
    target = torch.arange(len(student), device=student.device)
    there = _one_way(student, bank_GD, place_B, tau, alike_bank)
    return (there + _one_way(teacher, student, target, tau, alike)) / 2


def sigmoid(
    student_BD: Tensor, teacher_BD: Tensor, scale: Tensor, bias: Tensor, alike: Alike
) -> Tensor:
    """Return the pairwise sigmoid loss, a mean over frames (arXiv 2303.15343, algorithm 1)."""
    teacher = F.normalize(teacher_BD, dim=1)
    count, at = len(teacher), torch.arange(len(teacher), device=teacher.device)

    def part(student_RD: Tensor, rows: slice) -> Tensor:
        logits = student_RD @ teacher.T * scale + bias
        own = at[rows, None] == at
        each = -F.logsigmoid(torch.where(own, 1.0, -1.0) * logits)
        return each.masked_fill(alike(rows) & ~own, 0.0).sum()

    return in_blocks(part, F.normalize(student_BD, dim=1), count, LEAST) / count


def _one_way(
    query_BD: Tensor, key_GD: Tensor, place_B: Tensor, tau: float | Tensor, alike: Alike
) -> Tensor:
    """Return InfoNCE of normalised queries that look for their keys, a mean over queries."""

    def part(query_RD: Tensor, rows: slice) -> Tensor:
        place_R = place_B[rows]
        apart = alike(rows).scatter(1, place_R[:, None], False)
        logits = (query_RD @ key_GD.T / tau).masked_fill(apart, -torch.inf)
        return F.cross_entropy(logits, place_R, reduction="sum")

    return in_blocks(part, query_BD, len(key_GD), LEAST) / len(query_BD)


def cosine(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Return one minus the mean cosine of pairs."""
    return 1 - F.cosine_similarity(student_BD, teacher_BD, dim=1).mean()


def self_contrast(pooled_BMW: Tensor, tau: float, alike: Alike) -> Tensor:
    """Return InfoNCE between every two backbones' pooled tokens of the same frames; 0 of one."""
    count = pooled_BMW.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    if not pairs:
        return pooled_BMW.new_zeros(())
    terms = [infonce(pooled_BMW[:, i], pooled_BMW[:, j], tau, alike) for i, j in pairs]
    return torch.stack(terms).mean()


def collapse(weights_M: Tensor) -> Tensor:
    """Return how far the backbones' mean shares are from equal, 0 to log M: the missing entropy."""
    entropy = -(weights_M * weights_M.clamp_min(1e-12).log()).sum()
    return math.log(len(weights_M)) - entropy


def similar(teacher_BD: Tensor, others_GD: Tensor, limit: float) -> Tensor:
    """Return (B, G): True where two embeddings of length 1 have a cosine above the limit."""
    return teacher_BD @ others_GD.T > limit


def alike_to(
    episode_B: Tensor, step_B: Tensor, episode_G: Tensor, step_G: Tensor, near: int
) -> Tensor:
    """Return (B, G): True where two frames are of one episode and at most ``near`` steps apart."""
    same = episode_B[:, None] == episode_G[None, :]
    return same & ((step_B[:, None] - step_G[None, :]).abs() <= near)
