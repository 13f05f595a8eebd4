"""What a spec can say about the fusions that come with the core."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge

from ...interfaces import fields


@attrs.frozen(kw_only=True)
class Weighted:
    """Weigh each backbone by a softmax over learned numbers."""

    per: Literal["global", "sample", "token"] = fields.added_later(default="global")
    """What has weights of its own: ``global``, one number a backbone for all; ``sample``, a frame,
    by its tokens' mean; ``token``, each place of it. The latter two are linear in what is seen."""


@attrs.frozen(kw_only=True)
class Moe:
    """Let a gate choose the k backbones that count."""

    k: int = attrs.field(default=2, validator=ge(1))
    """Backbones kept for each token, at most as many as the run has."""
    per: Literal["token", "sample", "global"] = fields.added_later(default="token")
    """What the gate chooses for: ``token``, each place; ``sample``, a frame, by its tokens' mean;
    ``global``, all, by learned numbers without looking (``hidden`` is of no effect then)."""
    noise: float = attrs.field(default=1.0, validator=ge(0))
    """Factor on the learned scale of the gate's noise in training; 0 for none."""
    hidden: int = attrs.field(default=64, validator=ge(1))
    """Width of the gate's hidden layer."""
    balance: float = attrs.field(default=0.01, validator=ge(0))
    """Weight of the term that spreads tokens over backbones; of no effect where k keeps all. With
    cached negatives it is the mean of that of each micro-batch, which is not that of the batch."""
