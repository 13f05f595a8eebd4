"""What an aligner is trained for: the weighted sum of the spec's losses over a batch.

Shapes: B = frames of a batch, M = backbones, W = width of fused tokens, D = teacher's width,
G = training frames, H = groups of a cloud, C = width of a group's token, T = tokens of a frame
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
from .aligner import Aligned, Aligner


@attrs.frozen(eq=False, kw_only=True)
class LossInputs:
    """Hold what the teacher says of a batch, and which frames are no negatives."""

    target_BD: Tensor
    alike: losses.Alike  # which frames of the batch are no negatives of one another
    bank_GD: Tensor | None = None  # all training targets in length 1, where they are negatives
    place_B: Tensor | None = None  # where in the bank each frame's own target is
    alike_bank: losses.Alike | None = None
    groups_BHC: Tensor | None = None  # the teacher's group tokens, standardised


def embedded(
    aligner: Aligner,
    tokens_BVNC: Sequence[Tensor],
    *,
    pooled: bool = False,
    drawn: TokenSample | None = None,
    windows_LK: Tensor | None = None,
    local: bool = False,
    precision: str = "float32",
) -> tuple[Tensor, ...]:
    """Return what the objective looks at of some frames or windows, always as float32.

    Each call has an autocast of its own: one that lasted longer would keep the rounded weights of a
    call without gradients. Bfloat16 has the range of float32, so no gradient is scaled.
    """
    device = tokens_BVNC[0].device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        aligned = aligner(tokens_BVNC, pooled, drawn, windows_LK, local)
        return tuple(part.float() for part in outputs(aligned))


def outputs(aligned: Aligned) -> tuple[Tensor, ...]:
    """Return what the objective looks at of some frames; what was not asked for has no width."""
    none = aligned.embedding.new_zeros(len(aligned.embedding), 0, 0)
    pooled, local = (none if x is None else x for x in (aligned.pooled, aligned.local))
    return (aligned.embedding, aligned.weights, aligned.loss, pooled, local)


def joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return embeddings, mean weights, mean fusion loss, pooled and local tokens of all parts."""
    sizes = torch.tensor([len(part[0]) for part in parts], dtype=parts[0][1].dtype)
    share = (sizes / sizes.sum()).to(parts[0][1].device)
    weights = torch.stack([part[1] for part in parts]) * share[:, None]
    loss = torch.stack([part[2] for part in parts]) * share
    embedding, pooled, local = (torch.cat([part[i] for part in parts]) for i in (0, 3, 4))
    return embedding, weights.sum(0), loss.sum(), pooled, local


def objective(
    config: AlignLoss,
    parts: Sequence[tuple[Tensor, ...]],
    batch: LossInputs,
    temperature: losses.Temperature | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch and its terms by name."""
    embedding_BD, weights_M, total, pooled_BMW, local_BTC = joined(parts)
    terms: dict[str, tuple[float, Tensor]] = {}
    target = batch.target_BD
    tau = (
        temperature.tau()
        if temperature is not None and config.learn_temperature
        else config.temperature
    )
    if config.mse:
        seen = (embedding_BD, target)
        if config.mse_on == "normalised":
            seen = (F.normalize(embedding_BD, dim=1), F.normalize(target, dim=1))
        terms["mse"] = config.mse, F.mse_loss(*seen)
    if config.infonce:
        terms["infonce"] = config.infonce, _infonce(embedding_BD, batch, tau)
    if config.sigmoid:
        assert temperature is not None
        scale, bias = 1 / temperature.tau(), temperature.bias
        value = losses.sigmoid(embedding_BD, target, scale, bias, batch.alike)
        terms["sigmoid"] = config.sigmoid, value
    if config.cosine:
        terms["cosine"] = config.cosine, losses.cosine(embedding_BD, target)
    if config.self_contrast:
        value = losses.self_contrast(pooled_BMW, config.temperature, batch.alike)
        terms["self_contrast"] = config.self_contrast, value
    if config.entropy:
        terms["entropy"] = config.entropy, losses.collapse(weights_M)
    if config.local:
        assert batch.groups_BHC is not None
        # at a learned temperature it would fall without end as that sinks, whatever the tokens
        terms["local"] = (
            config.local,
            local_loss.matching(local_BTC, batch.groups_BHC, config.temperature),
        )
    if config.chamfer:
        assert batch.groups_BHC is not None
        terms["chamfer"] = config.chamfer, local_loss.chamfer(local_BTC, batch.groups_BHC)
    for weight, term in terms.values():
        total = total + weight * term
    return total, {name: term for name, (_, term) in terms.items()}


def _infonce(embedding_BD: Tensor, batch: LossInputs, tau: float | Tensor) -> Tensor:
    if batch.bank_GD is None:
        return losses.infonce(embedding_BD, batch.target_BD, tau, batch.alike)
    assert batch.place_B is not None
    assert batch.alike_bank is not None
    return losses.infonce_bank(
        embedding_BD,
        batch.target_BD,
        batch.bank_GD,
        batch.place_B,
        tau,
        batch.alike,
        batch.alike_bank,
    )


def shown(
    terms: Mapping[str, Tensor], names: Sequence[str], weights_M: Tensor
) -> dict[str, float | Tensor]:
    """Return the terms and each backbone's share, for the curves."""
    share = {f"weight/{n}": w.detach() for n, w in zip(names, weights_M, strict=True)}
    return dict(terms) | share
