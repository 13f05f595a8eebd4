"""Losses between RGB embeddings (the student) and teacher embeddings.

Large batches are compared in blocks of rows, so that memory does not grow with the square of the
batch.

Shapes: B = frames of a batch, D = width of the teacher's embedding, G = training frames,
M = backbones, W = width of fused tokens, R = rows of a block
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..spec import LEARNED_TEMPERATURES

# rows of the batch -> (R, B or G), True where two frames are too similar to be negatives
Similarity = Callable[[slice], Tensor]
BLOCK = 1 << 18  # largest number of pairs compared at once
MIN_ROWS = 64  # fewest rows of a block that reads all embeddings
SIGMOID_BIAS = -10.0  # initial bias, as most pairs are negatives (arXiv 2303.15343)


class Temperature(nn.Module):
    """A learned temperature between 0.01 and 1, and the bias of the sigmoid loss."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(initial)))
        self.bias = nn.Parameter(torch.tensor(SIGMOID_BIAS))

    def forward(self) -> Tensor:
        """Return the temperature, a scalar."""
        low, high = (-math.log(bound) for bound in reversed(LEARNED_TEMPERATURES))
        with torch.no_grad():  # clamps the parameter itself: outside the bounds its gradient is 0
            self.log_scale.clamp_(low, high)
        return torch.exp(-self.log_scale)


def sum_in_blocks(
    block: Callable[[Tensor, slice], Tensor],
    rows_B: Tensor,
    width: int,
    min_rows: int = 1,
    own: slice | None = None,
) -> Tensor:
    """Return the sum of ``block(rows, slice)`` over blocks of rows (B, ...), or of ``own`` rows.

    Each row is compared with ``width`` others. A block has at most BLOCK pairs, but at least
    ``min_rows`` rows. If there are several blocks, the backward pass recomputes them.
    """
    own = slice(0, len(rows_B)) if own is None else own
    rows, rows_N = max(min_rows, BLOCK // width), rows_B[own]
    if len(rows_N) <= rows:
        return block(rows_N, own)
    values = [
        checkpoint(
            block, part, slice(i, i + len(part)), use_reentrant=False, preserve_rng_state=False
        )
        for i, part in zip(range(own.start, own.stop, rows), rows_N.split(rows), strict=True)
    ]
    return torch.stack(values).sum()


def infonce(
    student_BD: Tensor,
    teacher_BD: Tensor,
    temperature: float | Tensor,
    similar: Similarity,
    own: slice | None = None,
) -> Tensor:
    """Return the symmetric InfoNCE loss, a scalar (arXiv 2103.00020).

    ``similar`` is symmetric and excludes pairs from the negatives. Each frame with itself is always
    the positive pair. With ``own``, the result is the share of these frames: the shares of all
    frames sum to the loss.
    """
    student, teacher = F.normalize(student_BD, dim=1), F.normalize(teacher_BD, dim=1)
    count = len(student)
    target = torch.arange(count, device=student.device)
    if count**2 > BLOCK or own is not None:
        forward = _one_way(student, teacher, target, temperature, similar, own)
        return (forward + _one_way(teacher, student, target, temperature, similar, own)) / 2
    logits = student @ teacher.T / temperature  # one product for both directions
    pairs = torch.eye(count, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(similar(slice(0, count)) & ~pairs, -torch.inf)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def infonce_bank(
    student_BD: Tensor,
    teacher_BD: Tensor,
    bank_GD: Tensor,
    position_B: Tensor,
    temperature: float | Tensor,
    similar: Similarity,
    similar_bank: Similarity,
    own: slice | None = None,
) -> Tensor:
    """Return InfoNCE whose student is compared with the teacher embeddings of all training frames.

    The teacher is frozen, so the bank is never stale. The direction from teacher to student stays
    within the batch, as in ``infonce``. ``bank_GD`` has unit length, and ``position_B`` is the
    position of each frame's own embedding in it. ``own`` is that of ``infonce``.
    """
    student, teacher = F.normalize(student_BD, dim=1), F.normalize(teacher_BD, dim=1)
    target = torch.arange(len(student), device=student.device)
    forward = _one_way(student, bank_GD, position_B, temperature, similar_bank, own)
    return (forward + _one_way(teacher, student, target, temperature, similar, own)) / 2


def sigmoid(
    student_BD: Tensor,
    teacher_BD: Tensor,
    scale: Tensor,
    bias: Tensor,
    similar: Similarity,
    own: slice | None = None,
) -> Tensor:
    """Return the pairwise sigmoid loss, averaged over frames (arXiv 2303.15343, algorithm 1).

    ``own`` is that of ``infonce``.
    """
    teacher = F.normalize(teacher_BD, dim=1)
    count, at = len(teacher), torch.arange(len(teacher), device=teacher.device)

    def block(student_RD: Tensor, rows: slice) -> Tensor:
        logits = student_RD @ teacher.T * scale + bias
        pairs = at[rows, None] == at
        each = -F.logsigmoid(torch.where(pairs, 1.0, -1.0) * logits)
        return each.masked_fill(similar(rows) & ~pairs, 0.0).sum()

    return sum_in_blocks(block, F.normalize(student_BD, dim=1), count, MIN_ROWS, own) / count


def _one_way(
    query_BD: Tensor,
    key_GD: Tensor,
    position_B: Tensor,
    temperature: float | Tensor,
    similar: Similarity,
    own: slice | None,
) -> Tensor:
    """Return the InfoNCE of unit-length queries against unit-length keys, averaged over queries."""

    def block(query_RD: Tensor, rows: slice) -> Tensor:
        position_R = position_B[rows]
        excluded = similar(rows).scatter(1, position_R[:, None], False)
        logits = (query_RD @ key_GD.T / temperature).masked_fill(excluded, -torch.inf)
        return F.cross_entropy(logits, position_R, reduction="sum")

    return sum_in_blocks(block, query_BD, len(key_GD), MIN_ROWS, own) / len(query_BD)


def cosine(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """Return one minus the mean cosine similarity of pairs."""
    return 1 - F.cosine_similarity(student_BD, teacher_BD, dim=1).mean()


def self_contrast(
    pooled_BMW: Tensor, temperature: float, similar: Similarity, own: slice | None = None
) -> Tensor:
    """Return the mean InfoNCE between the pooled tokens of every two backbones; 0 if M = 1.

    ``own`` is that of ``infonce``.
    """
    count = pooled_BMW.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    if not pairs:
        return pooled_BMW.new_zeros(())
    terms = [
        infonce(pooled_BMW[:, i], pooled_BMW[:, j], temperature, similar, own) for i, j in pairs
    ]
    return torch.stack(terms).mean()


def missing_entropy(weights_M: Tensor) -> Tensor:
    """Return log M minus the entropy of the mean shares (0 if equal, log M if one takes all)."""
    entropy = -(weights_M * weights_M.clamp_min(1e-12).log()).sum()
    return math.log(len(weights_M)) - entropy


def cosine_above(teacher_BD: Tensor, others_GD: Tensor, limit: float) -> Tensor:
    """Return (B, G), True where two unit-length embeddings have a cosine above ``limit``."""
    return teacher_BD @ others_GD.T > limit


def near_in_time(
    episode_B: Tensor, step_B: Tensor, episode_G: Tensor, step_G: Tensor, steps: int
) -> Tensor:
    """Return (B, G), True where two frames of one episode are at most ``steps`` steps apart."""
    same = episode_B[:, None] == episode_G[None, :]
    return same & ((step_B[:, None] - step_G[None, :]).abs() <= steps)
