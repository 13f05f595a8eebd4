"""Options of the fusions ``weighted`` and ``moe``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge

from ...interfaces import fields


@attrs.frozen(kw_only=True)
class Weighted:
    """Weighted sum of the backbones' tokens, with a softmax over learned logits."""

    per: Literal["global", "sample", "token"] = fields.added_later(default="global")
    """Scope of the weights. ``global``: one logit per backbone. ``sample``: weights of each frame,
    linear in the mean of its tokens. ``token``: weights of each position, linear in its tokens."""


@attrs.frozen(kw_only=True)
class Moe:
    """Mixture of experts: a gate selects k backbones."""

    k: int = attrs.field(default=2, validator=ge(1))
    """Backbones selected for each token, at most the number of backbones."""
    per: Literal["token", "sample", "global"] = fields.added_later(default="token")
    """Scope of the selection. ``token``: each position. ``sample``: each frame, from the mean of
    its tokens. ``global``: all frames, from learned logits (``hidden`` is not used then)."""
    noise: float = attrs.field(default=1.0, validator=ge(0))
    """Factor on the learned scale of the gate's noise in training; 0 turns it off."""
    hidden: int = attrs.field(default=64, validator=ge(1))
    """Width of the gate's hidden layer."""
    balance: float = attrs.field(default=0.01, validator=ge(0))
    """Weight of the load-balancing loss; not used if k selects all backbones. With
    ``negatives = "gradcache"`` it is the mean over micro-batches, not that of the batch."""
