"""The training objective of an aligner: the weighted sum of the spec's losses over a batch.

Shapes: B = frames of a batch, N = those of this process, D = teacher's width, G = training frames,
H = groups of a point cloud, C = width of a group's token, K = frames of a window, L = windows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor

from ..features.token_grids import TokenSample
from ..spec import AlignLoss
from . import local_loss, losses
from .aligner import Aligner
from .gathering import BatchOutputs
from .outputs import AlignedOutputs


@attrs.frozen(eq=False, kw_only=True)
class TargetBank:
    """The targets of all training frames, which serve as negatives of a batch."""

    target_GD: Tensor  # unit length
    position_B: Tensor  # of each frame's own target in the bank
    similar: losses.Similarity  # between the batch and the bank


@attrs.frozen(eq=False, kw_only=True)
class LossTargets:
    """The teacher's side of a batch, and which frames are excluded from the negatives."""

    target_BD: Tensor
    similar: losses.Similarity  # between frames of the batch
    bank: TargetBank | None = None
    groups_NHC: Tensor | None = None  # standardised group tokens of this process's frames


@attrs.frozen(eq=False, kw_only=True)
class ObjectiveValue:
    """The loss of a batch and its unweighted terms."""

    loss: Tensor
    terms: Mapping[str, Tensor]


def embed(
    aligner: Aligner,
    tokens_BVNC: Sequence[Tensor],
    config: AlignLoss,
    *,
    sample: TokenSample | None = None,
    windows_LK: Tensor | None = None,
    precision: str = "float32",
) -> AlignedOutputs:
    """Return what the losses read of some frames or windows.

    Every call opens its own autocast context: a longer one would cache rounded weights from calls
    without gradients. Bfloat16 has the range of float32, so gradients are not scaled.
    """
    device = tokens_BVNC[0].device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        aligned = aligner(
            tokens_BVNC,
            pooled=bool(config.self_contrast),
            sample=sample,
            windows_LK=windows_LK,
            local=config.grouped,
        )
        return AlignedOutputs.of(aligned)


def objective(
    config: AlignLoss,
    outputs: BatchOutputs,
    targets: LossTargets,
    learned: losses.Temperature | None,
) -> ObjectiveValue:
    """Return the loss of a batch: the fusion's own loss plus the weighted terms of the spec.

    Where several processes divide the batch, loss and terms are the shares of this process's
    frames: they sum to those of the batch, and so do their gradients.
    """
    own = outputs.own
    terms = _embedding_terms(config, outputs, targets, learned)
    if config.self_contrast:
        assert outputs.every.pooled_BMW is not None
        terms["self_contrast"] = losses.self_contrast(
            outputs.every.pooled_BMW, config.temperature, targets.similar, outputs.rows
        )
    if config.entropy:
        terms["entropy"] = outputs.share(losses.missing_entropy(outputs.every.weights_M))
    if config.grouped:
        local = _local_terms(config, own, targets)
        terms |= {name: outputs.share(term) for name, term in local.items()}
    loss = outputs.share(own.fusion_loss)
    for name, term in terms.items():
        loss = loss + getattr(config, name) * term
    return ObjectiveValue(loss=loss, terms=terms)


def _embedding_terms(
    config: AlignLoss,
    outputs: BatchOutputs,
    targets: LossTargets,
    learned: losses.Temperature | None,
) -> dict[str, Tensor]:
    """Return the terms that compare embeddings with the teacher's."""
    own_ND, every_BD, target_BD = (
        outputs.own.embedding_BD,
        outputs.every.embedding_BD,
        targets.target_BD,
    )
    target_ND = target_BD if outputs.rows is None else target_BD[outputs.rows]
    terms = {}
    if config.mse:
        pair = (own_ND, target_ND)
        if config.mse_on == "normalised":
            pair = (F.normalize(own_ND, dim=1), F.normalize(target_ND, dim=1))
        terms["mse"] = outputs.share(F.mse_loss(*pair))
    if config.infonce:
        temperature = learned() if learned and config.learn_temperature else config.temperature
        terms["infonce"] = _infonce(every_BD, targets, temperature, outputs.rows)
    if config.sigmoid:
        assert learned is not None
        terms["sigmoid"] = losses.sigmoid(
            every_BD, target_BD, 1 / learned(), learned.bias, targets.similar, outputs.rows
        )
    if config.cosine:
        terms["cosine"] = outputs.share(losses.cosine(own_ND, target_ND))
    return terms


def _infonce(
    embedding_BD: Tensor, targets: LossTargets, temperature: float | Tensor, own: slice | None
) -> Tensor:
    bank = targets.bank
    if bank is None:
        return losses.infonce(embedding_BD, targets.target_BD, temperature, targets.similar, own)
    return losses.infonce_bank(
        embedding_BD,
        targets.target_BD,
        bank.target_GD,
        bank.position_B,
        temperature,
        targets.similar,
        bank.similar,
        own,
    )


def _local_terms(
    config: AlignLoss, outputs: AlignedOutputs, targets: LossTargets
) -> dict[str, Tensor]:
    """Return the terms that compare fused tokens with the teacher's group tokens."""
    tokens_NTC, groups_NHC = outputs.local_BTC, targets.groups_NHC
    assert tokens_NTC is not None
    assert groups_NHC is not None
    terms = {}
    if config.local:
        # the temperature is not learned: lowering it decreases this loss without bound
        terms["local"] = local_loss.matching(tokens_NTC, groups_NHC, config.temperature)
    if config.chamfer:
        terms["chamfer"] = local_loss.chamfer(tokens_NTC, groups_NHC)
    return terms
