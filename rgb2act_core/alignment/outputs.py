"""What the alignment losses compare with the teacher.

Shapes: B = frames (or windows of frames) of a batch or of a part of it, M = backbones,
W = token_dim, D = width of the teacher's embedding, T = tokens of a frame, C = width of the
teacher's group tokens
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from .aligner import Aligned


@attrs.frozen(eq=False, kw_only=True)
class AlignedOutputs:
    """The aligner's outputs that the losses read; float32."""

    embedding_BD: Tensor
    weights_M: Tensor  # mean share of each backbone
    fusion_loss: Tensor  # scalar, the fusion's own loss term
    pooled_BMW: Tensor | None = None  # only if a loss needs it
    local_BTC: Tensor | None = None  # only if a loss needs it

    @classmethod
    def of(cls, aligned: Aligned) -> AlignedOutputs:
        """Return the outputs as float32, without the fused tokens, which no loss reads."""
        return cls(
            embedding_BD=aligned.embedding.float(),
            weights_M=aligned.weights.float(),
            fusion_loss=aligned.fusion_loss.float(),
            pooled_BMW=None if aligned.pooled is None else aligned.pooled.float(),
            local_BTC=None if aligned.local is None else aligned.local.float(),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[AlignedOutputs]) -> AlignedOutputs:
        """Return the outputs of a batch; shares and fusion loss are means over its frames."""
        count = torch.tensor([len(part.embedding_BD) for part in parts], dtype=torch.float64)
        weights = torch.stack([part.weights_M for part in parts])
        share = (count / count.sum()).to(weights)
        fusion_loss = torch.stack([part.fusion_loss for part in parts])
        return cls(
            embedding_BD=torch.cat([part.embedding_BD for part in parts]),
            weights_M=(weights * share[:, None]).sum(0),
            fusion_loss=(fusion_loss * share).sum(),
            pooled_BMW=_concatenate([part.pooled_BMW for part in parts]),
            local_BTC=_concatenate([part.local_BTC for part in parts]),
        )

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the outputs that are present, in a fixed order."""
        every = (
            self.embedding_BD,
            self.weights_M,
            self.fusion_loss,
            self.pooled_BMW,
            self.local_BTC,
        )
        return tuple(tensor for tensor in every if tensor is not None)

    def as_leaves(self) -> AlignedOutputs:
        """Return the same values without a graph, ready to collect gradients."""
        return AlignedOutputs(
            embedding_BD=_leaf(self.embedding_BD),
            weights_M=_leaf(self.weights_M),
            fusion_loss=_leaf(self.fusion_loss),
            pooled_BMW=None if self.pooled_BMW is None else _leaf(self.pooled_BMW),
            local_BTC=None if self.local_BTC is None else _leaf(self.local_BTC),
        )


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(True)


def _concatenate(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
