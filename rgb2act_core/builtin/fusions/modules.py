"""The modules of the fusions ``weighted`` and ``moe``: one token per position from M backbones.

Shapes: B = batch, N = tokens, M = backbones, D = width, k = backbones selected per token,
X = width of the gate's input
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from ...errors import UserError
from ...interfaces import FusedTokens
from .config import Moe, Weighted


class WeightedSum(nn.Module):
    """Weighted sum of tokens, with a softmax over M logits that are equal at initialisation.

    Logits per frame or token are one learned number per backbone plus a linear map of all
    backbones' tokens, which is zero at initialisation.
    """

    def __init__(self, config: Weighted, n_backbones: int, dim: int) -> None:
        super().__init__()
        self.per = config.per
        self.logits_M = nn.Parameter(torch.zeros(n_backbones))
        self.gate = None
        if config.per != "global":
            self.gate = nn.Linear(n_backbones * dim, n_backbones, bias=False)
            nn.init.zeros_(self.gate.weight)

    def forward(self, tokens_BNMD: Tensor) -> FusedTokens:
        """Return the weighted tokens and the mean weights; there is no loss term."""
        if tokens_BNMD.shape[2] == 1:  # its share is 1, whatever the logit
            weights_M = self.logits_M.new_ones(1)
            kind = torch.promote_types(tokens_BNMD.dtype, weights_M.dtype)
            tokens = tokens_BNMD[:, :, 0].to(kind)  # as if multiplied by the share
        elif self.gate is None:
            weights_M = self.logits_M.softmax(0)
            tokens = torch.einsum("bnmd,m->bnd", tokens_BNMD, weights_M)
        else:
            logits_BNM = self.logits_M + self.gate(_gate_input(tokens_BNMD, self.per))
            shares_BNM = logits_BNM.softmax(-1)
            weights_M = shares_BNM.mean((0, 1))
            tokens = _weighted_sum(tokens_BNMD, shares_BNM)
        return FusedTokens(tokens=tokens, weights=weights_M, loss=weights_M.new_zeros(()))


def _gate_input(tokens_BNMD: Tensor, per: str) -> Tensor:
    """Return a gate's input: all backbones' tokens (B, N, M * D), or their mean (B, 1, M * D)."""
    tokens_BNX = tokens_BNMD.flatten(2)
    return tokens_BNX.mean(1, keepdim=True) if per == "sample" else tokens_BNX


def _weighted_sum(tokens_BNMD: Tensor, shares_BNM: Tensor) -> Tensor:
    """Return the weighted sum of tokens (B, N, D); B and N of the shares can be 1."""
    return torch.einsum("bnmd,bnm->bnd", tokens_BNMD, shares_BNM.expand(tokens_BNMD.shape[:3]))


class GatedSum(nn.Module):
    """Weighted sum of the tokens of k backbones that a small network selects.

    Noisy top-k gating as in Shazeer et al. 2017 (arXiv 1701.06538, eq. 3 to 5), with one noise
    scale per backbone, and the load-balancing loss of Fedus et al. 2021 (arXiv 2101.03961, eq. 4).
    In training mode the noise comes from torch's global generator; in eval mode there is none.
    """

    def __init__(self, config: Moe, n_backbones: int, dim: int) -> None:
        super().__init__()
        self.k, self.noise, self.balance, self.per = (
            config.k,
            config.noise,
            config.balance,
            config.per,
        )
        if config.per == "global":
            self.logits_M = nn.Parameter(torch.zeros(n_backbones))
        else:
            self.gate = nn.Sequential(
                nn.Linear(n_backbones * dim, config.hidden),
                nn.GELU(),
                nn.Linear(config.hidden, n_backbones),
            )
        self.log_noise_M = nn.Parameter(torch.full((n_backbones,), -2.0))

    def forward(self, tokens_BNMD: Tensor) -> FusedTokens:
        """Return the gated tokens, the mean share of each backbone and the load-balancing loss.

        B or N of logits and shares is 1 where all frames or tokens share one selection.
        """
        logits_BNM = self._logits(tokens_BNMD)
        if self.training and self.noise > 0:
            noise_BNM = torch.randn_like(logits_BNM)
            logits_BNM = logits_BNM + self.noise * self.log_noise_M.exp() * noise_BNM
        probability_BNM = logits_BNM.softmax(-1)
        selected_BNM = torch.zeros_like(probability_BNM)
        selected_BNM.scatter_(-1, probability_BNM.topk(self.k, dim=-1).indices, 1.0)
        shares_BNM = self._shares(probability_BNM, selected_BNM)
        return FusedTokens(
            tokens=_weighted_sum(tokens_BNMD, shares_BNM),
            weights=shares_BNM.mean((0, 1)),
            loss=self.balance * self._imbalance(probability_BNM, selected_BNM),
        )

    def _logits(self, tokens_BNMD: Tensor) -> Tensor:
        if self.per == "global":
            return self.logits_M[None, None]
        logits: Tensor = self.gate(_gate_input(tokens_BNMD, self.per))
        return logits

    def _shares(self, probability_BNM: Tensor, selected_BNM: Tensor) -> Tensor:
        """Return shares that sum to 1 over the selected backbones and are 0 for the others."""
        shares_BNM = probability_BNM * selected_BNM
        total_BN1 = shares_BNM.sum(-1, keepdim=True)
        if self.k == 1:  # the only share is 1: without detaching, the gate would get no gradient
            total_BN1 = total_BN1.detach()
        return shares_BNM / total_BN1

    def _imbalance(self, probability_BNM: Tensor, selected_BNM: Tensor) -> Tensor:
        """Return 0 for an even load, M - 1 if one backbone gets all tokens with k = 1 (eq. 4)."""
        load_M = selected_BNM.mean((0, 1)) / self.k
        probability_M = probability_BNM.mean((0, 1))
        return probability_BNM.shape[-1] * (load_M * probability_M).sum() - 1


@attrs.frozen
class WeightedFusion:
    """Build ``WeightedSum`` modules; implements ``interfaces.Fusion``."""

    config: Weighted

    def module(self, n_backbones: int, dim: int) -> nn.Module:
        """Return a new module."""
        return WeightedSum(self.config, n_backbones, dim)


@attrs.frozen
class MoeFusion:
    """Build ``GatedSum`` modules; implements ``interfaces.Fusion``."""

    config: Moe

    def module(self, n_backbones: int, dim: int) -> nn.Module:
        """Return a new module; UserError if k exceeds the number of backbones."""
        if self.config.k > n_backbones:
            raise UserError(
                f"moe: k is {self.config.k!r}, but the run has {n_backbones} backbone"
                f"{'s' * (n_backbones != 1)}; set k to at most {n_backbones} or add backbones"
            )
        return GatedSum(self.config, n_backbones, dim)
