"""The embeddings of a batch whose frames are divided among several processes.

Shapes: N = this process's frames, B = frames of all processes, D = width of an embedding,
M = backbones, W = token_dim
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from ..training.ranks import Ranks
from .outputs import AlignedOutputs


@attrs.frozen(eq=False, kw_only=True)
class BatchOutputs:
    """The aligner's outputs for a batch: those of this process's frames, and of all frames.

    The terms of this process's frames are its share of the loss.
    """

    own: AlignedOutputs
    every: AlignedOutputs  # only what the losses compare among frames, and the mean shares
    rows: slice | None = None  # this process's frames among all; None: all are its own

    @classmethod
    def alone(cls, outputs: AlignedOutputs) -> BatchOutputs:
        """Return the outputs of a batch that one process computed."""
        return cls(own=outputs, every=outputs)

    def share(self, mean: Tensor) -> Tensor:
        """Return this process's share of a value, given that of its own frames.

        The shares of all processes sum to the mean over the batch's frames.
        """
        if self.rows is None:
            return mean
        fraction: float = (self.rows.stop - self.rows.start) / len(self.every.embedding_BD)
        return mean * fraction


def gather_outputs(own: AlignedOutputs, ranks: Ranks, counts: Sequence[int]) -> BatchOutputs:
    """Return the outputs of a batch of which each process has computed some frames.

    ``counts`` are the frames of each process. One message carries all outputs.
    """
    if ranks.alone:
        return BatchOutputs.alone(own)
    embedding_ND, pooled_NMW = own.embedding_BD, own.pooled_BMW
    share_NM = own.weights_M.expand(len(embedding_ND), -1)
    parts = [embedding_ND, share_NM.to(embedding_ND)]
    if pooled_NMW is not None:
        parts.append(pooled_NMW.flatten(1))
    together = ranks.gather(torch.cat(parts, 1), counts)
    embedding_BD, share_BM, *pooled = together.split([part.shape[1] for part in parts], dim=1)
    pooled_BMW = None
    if pooled_NMW is not None:
        pooled_BMW = pooled[0].unflatten(1, pooled_NMW.shape[1:])
    return BatchOutputs(
        own=own,
        every=AlignedOutputs(
            embedding_BD=embedding_BD,
            weights_M=share_BM.mean(0),
            fusion_loss=own.fusion_loss,
            pooled_BMW=pooled_BMW,
        ),
        rows=ranks.rank_slice(counts),
    )
