"""Metrics of an aligner on held-out frames.

Shapes: F = frames, D = width of the embedding, equal to the teacher's, S = numbers of a state
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor

from ..data.standardization import Standardization

POOL = 100  # frames of a retrieval pool
POOLS = 50  # random pools that retrieval is averaged over


def retrieval(student_FD: Tensor, teacher_FD: Tensor, k: int) -> float:
    """Return recall@k of each frame's own teacher embedding among all frames, by cosine."""
    return float(_recall(_cosines(student_FD, teacher_FD), k).mean())


def retrieval_within(student_FD: Tensor, teacher_FD: Tensor, episode_F: Tensor, k: int) -> float:
    """Return recall@k of each frame's own teacher embedding among the frames of its episode."""
    same = episode_F[:, None] == episode_F[None, :]
    scores = _cosines(student_FD, teacher_FD).masked_fill(~same, -torch.inf)
    return float(_recall(scores, k).mean())


def retrieval_in_pool(
    student_FD: Tensor, teacher_FD: Tensor, k: int, size: int = POOL, pools: int = POOLS
) -> float:
    """Return recall@k of each frame's own teacher embedding in random pools of frames.

    A pool has ``size`` frames of any episode, or all frames if there are fewer. The result is
    averaged over ``pools`` pools, which are the same in every call. Chance level is k / size.
    """
    scores = _cosines(student_FD, teacher_FD)
    generator = torch.Generator().manual_seed(0)
    recalls = []
    for _ in range(pools):
        pool = torch.randperm(len(scores), generator=generator)[:size].to(scores.device)
        recalls.append(_recall(scores[pool][:, pool], k).mean())
    return float(torch.stack(recalls).mean())


def _cosines(student_FD: Tensor, teacher_FD: Tensor) -> Tensor:
    return F.normalize(student_FD, dim=1) @ F.normalize(teacher_FD, dim=1).T


def _recall(scores_FF: Tensor, k: int) -> Tensor:
    """Return (F,): the probability that a frame's own column is among the k best of its row.

    Ties are broken at random, so a student that cannot distinguish frames scores at chance level.
    """
    own_F1 = scores_FF.diagonal()[:, None]
    better_F, equal_F = (scores_FF > own_F1).sum(1), (scores_FF == own_F1).sum(1)
    return ((k - better_F) / equal_F).clamp(0, 1)


def uniformity(embedding_FD: Tensor) -> float:
    """Return the uniformity of embeddings on the unit sphere (eq. 2 of arXiv 2005.10242, t = 2).

    It is 0 if all embeddings are equal; lower values are more uniform.
    """
    if len(embedding_FD) < 2:
        return 0.0
    unit = F.normalize(embedding_FD.double(), dim=1)
    return float(torch.pdist(unit).square().mul(-2).exp().mean().log())


def cosine(student_FD: Tensor, teacher_FD: Tensor) -> float:
    """Return the mean cosine similarity of pairs."""
    return float(F.cosine_similarity(student_FD, teacher_FD, dim=1).mean())


def r2(student_FD: Tensor, teacher_FD: Tensor) -> float:
    """Return the share of the teacher embeddings' variance that the student explains."""
    residual = (student_FD - teacher_FD).square().sum()
    return float(1 - residual / (teacher_FD - teacher_FD.mean(0)).square().sum().clamp_min(1e-12))


def ridge_error(
    train_FD: Tensor, train_FS: Tensor, test_FD: Tensor, test_FS: Tensor, strength: float = 1e-3
) -> float:
    """Return the test RMSE of a ridge regression from embeddings to a state, in the state's units.

    Embeddings are standardised by the training frames; ``strength`` is relative to their number.
    """
    standardise = Standardization.of(train_FD, floor=1e-6)
    x_FD, test_x_FD = standardise(train_FD).double(), standardise(test_FD).double()
    target_mean_S = train_FS.mean(0)
    identity_DD = torch.eye(x_FD.shape[1], dtype=torch.float64, device=x_FD.device)
    gram_DD = x_FD.T @ x_FD + strength * len(x_FD) * identity_DD
    weights_DS = torch.linalg.solve(gram_DD, x_FD.T @ (train_FS - target_mean_S).double())
    error_FS = test_x_FD @ weights_DS + target_mean_S - test_FS
    return float(error_FS.square().sum(1).mean().sqrt())
