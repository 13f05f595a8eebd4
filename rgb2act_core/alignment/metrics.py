"""Measures of alignment on held-out frames.

Shapes: F = frames, D = embedding, as wide as the teacher's, S = numbers of a state
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor

POOL = 100  # frames of a pool that a frame's own embedding is looked for in
DRAWS = 50  # pools


def retrieval(student_FD: Tensor, teacher_FD: Tensor, k: int) -> float:
    """Return how often a frame's own teacher embedding is among the k nearest by cosine."""
    return float(_found(_cosines(student_FD, teacher_FD), k).mean())


def retrieval_within(student_FD: Tensor, teacher_FD: Tensor, episode_F: Tensor, k: int) -> float:
    """Return how often a frame's own teacher embedding is among the k nearest of its episode."""
    same = episode_F[:, None] == episode_F[None, :]
    scores = _cosines(student_FD, teacher_FD).masked_fill(~same, -torch.inf)
    return float(_found(scores, k).mean())


def retrieval_in_pool(
    student_FD: Tensor, teacher_FD: Tensor, k: int, size: int = POOL, draws: int = DRAWS
) -> float:
    """Return how often a frame's own teacher embedding is among the k nearest of a drawn pool.

    Each pool holds ``size`` frames drawn from all of them, whatever their episodes, or all where
    there are fewer; the mean over ``draws`` pools, which are the same at every call. By chance it
    would be k / size.
    """
    scores = _cosines(student_FD, teacher_FD)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(draws):
        pool = torch.randperm(len(scores), generator=generator)[:size].to(scores.device)
        found.append(_found(scores[pool][:, pool], k).mean())
    return float(torch.stack(found).mean())


def _cosines(student_FD: Tensor, teacher_FD: Tensor) -> Tensor:
    return F.normalize(student_FD, dim=1) @ F.normalize(teacher_FD, dim=1).T


def _found(scores_FF: Tensor, k: int) -> Tensor:
    """Return (F,): the chance that a frame's own column is among the k best of its row.

    Those that are equally good stand in any order: who cannot tell them apart guesses.
    """
    own_F1 = scores_FF.diagonal()[:, None]
    better_F, equal_F = (scores_FF > own_F1).sum(1), (scores_FF == own_F1).sum(1)
    return ((k - better_F) / equal_F).clamp(0, 1)


def uniformity(embedding_FD: Tensor) -> float:
    """Return how evenly embeddings lie on the sphere; 0 when all are one, lower is more even.

    Eq. 2 of arXiv 2005.10242, t = 2.
    """
    if len(embedding_FD) < 2:
        return 0.0
    unit = F.normalize(embedding_FD.double(), dim=1)
    return float(torch.pdist(unit).square().mul(-2).exp().mean().log())


def cosine(student_FD: Tensor, teacher_FD: Tensor) -> float:
    """Return the mean cosine of pairs; the teacher's embeddings are centred already."""
    return float(F.cosine_similarity(student_FD, teacher_FD, dim=1).mean())


def r2(student_FD: Tensor, teacher_FD: Tensor) -> float:
    """Return the share of the teacher embeddings' variance that is explained."""
    left = (student_FD - teacher_FD).square().sum()
    return float(1 - left / (teacher_FD - teacher_FD.mean(0)).square().sum().clamp_min(1e-12))


def ridge_error(
    train_FD: Tensor, train_FS: Tensor, test_FD: Tensor, test_FS: Tensor, strength: float = 1e-3
) -> float:
    """Return the held-out RMSE of a ridge regression from embeddings to a state, in its units."""
    mean = train_FD.mean(0)
    std = train_FD.std(0, correction=min(1, len(train_FD) - 1)).clamp_min(1e-6)
    x, test = ((part - mean).double() / std for part in (train_FD, test_FD))
    target_mean = train_FS.mean(0)
    gram = x.T @ x + strength * len(x) * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (train_FS - target_mean).double())
    error = test @ weights + target_mean - test_FS
    return float(error.square().sum(1).mean().sqrt())
