"""Two ways to make one token of several backbones' tokens at the same place.

Shapes: B = batch, N = tokens, M = backbones, D = width, k = backbones kept a token,
X = M * D or what else a gate looks at
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from ...errors import UserError
from ...interfaces import FusedTokens
from .config import Moe, Weighted


class WeightedSum(nn.Module):
    """Add tokens with a softmax over M weights, equal at first.

    Weights of a frame or a token are one learned number a backbone plus a linear map of what is
    seen there of all backbones, which begins at zero.
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
        if self.gate is None:
            weights_M = self.logits_M.softmax(0)
            tokens = torch.einsum("bnmd,m->bnd", tokens_BNMD, weights_M)
        else:
            logits_BNM = self.logits_M + self.gate(_seen(tokens_BNMD, self.per))
            shares_BNM = logits_BNM.softmax(-1)
            weights_M = shares_BNM.mean((0, 1))
            tokens = _sum(tokens_BNMD, shares_BNM)
        return FusedTokens(tokens=tokens, weights=weights_M, loss=weights_M.new_zeros(()))


def _seen(tokens_BNMD: Tensor, per: str) -> Tensor:
    """Return what a gate looks at: all backbones' tokens (B, N, M * D), or their mean (B, 1, .)."""
    tokens_BNX = tokens_BNMD.flatten(2)
    return tokens_BNX.mean(1, keepdim=True) if per == "sample" else tokens_BNX


def _sum(tokens_BNMD: Tensor, shares_BNM: Tensor) -> Tensor:
    """Return tokens (B, N, D) added by shares, which may be 1 wide in B and N."""
    return torch.einsum("bnmd,bnm->bnd", tokens_BNMD, shares_BNM.expand(tokens_BNMD.shape[:3]))


class GatedSum(nn.Module):
    """Add the tokens of the k backbones that a small network chooses.

    Noisy top-k gating after Shazeer et al. 2017 (arXiv 1701.06538, eq. 3 to 5), with one noise
    scale a backbone; the balance term is that of Fedus et al. 2021 (arXiv 2101.03961, eq. 4).
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
        """Return the gated tokens, the mean share of each backbone and the balance term.

        Logits and shares are 1 wide in B or N where one choice is for all of them.
        """
        logits_BNM = self._logits(tokens_BNMD)
        if self.training and self.noise > 0:
            draws_BNM = torch.randn_like(logits_BNM)
            logits_BNM = logits_BNM + self.noise * self.log_noise_M.exp() * draws_BNM
        chances_BNM = logits_BNM.softmax(-1)
        kept_BNM = torch.zeros_like(chances_BNM)
        kept_BNM.scatter_(-1, chances_BNM.topk(self.k, dim=-1).indices, 1.0)
        shares_BNM = self._shares(chances_BNM, kept_BNM)
        return FusedTokens(
            tokens=_sum(tokens_BNMD, shares_BNM),
            weights=shares_BNM.mean((0, 1)),
            loss=self.balance * self._imbalance(chances_BNM, kept_BNM),
        )

    def _logits(self, tokens_BNMD: Tensor) -> Tensor:
        if self.per == "global":
            return self.logits_M[None, None]
        logits: Tensor = self.gate(_seen(tokens_BNMD, self.per))
        return logits

    def _shares(self, chances_BNM: Tensor, kept_BNM: Tensor) -> Tensor:
        """Return shares that sum to 1 over the kept backbones and are 0 elsewhere."""
        shares_BNM = chances_BNM * kept_BNM
        total_BN1 = shares_BNM.sum(-1, keepdim=True)
        if self.k == 1:  # the only share is always 1: without this the gate could learn nothing
            total_BN1 = total_BN1.detach()
        return shares_BNM / total_BN1

    def _imbalance(self, chances_BNM: Tensor, kept_BNM: Tensor) -> Tensor:
        """Return 0 where load is even, M - 1 where one backbone takes all at k = 1 (eq. 4)."""
        load_M = kept_BNM.mean((0, 1)) / self.k
        chance_M = chances_BNM.mean((0, 1))
        return chances_BNM.shape[-1] * (load_M * chance_M).sum() - 1


@attrs.frozen
class WeightedFusion:
    """Make ``WeightedSum`` modules."""

    config: Weighted

    def module(self, n_backbones: int, dim: int) -> nn.Module:
        """Return the module."""
        return WeightedSum(self.config, n_backbones, dim)


@attrs.frozen
class MoeFusion:
    """Make ``GatedSum`` modules."""

    config: Moe

    def module(self, n_backbones: int, dim: int) -> nn.Module:
        """Return the module; more backbones to keep than there are raise UserError."""
        if self.config.k > n_backbones:
            raise UserError(
                f"moe: k is {self.config.k!r}, but the run has {n_backbones} backbone"
                f"{'s' * (n_backbones != 1)}; set k to at most {n_backbones} or add backbones"
            )
        return GatedSum(self.config, n_backbones, dim)
