"""What a spec can say about the fusions that come with the core."""

from __future__ import annotations

import attrs
from attrs.validators import ge, gt


@attrs.frozen(kw_only=True)
class Weighted:
    """Weigh each backbone by one learned number, the same for every token."""


@attrs.frozen(kw_only=True)
class Moe:
    """Let a gate choose, token by token, the k backbones that count."""

    k: int = attrs.field(default=2, validator=ge(1))  # backbones kept a token
    noise: float = attrs.field(default=1.0, validator=ge(0.0))  # factor on the learned scale
    hidden: int = attrs.field(default=64, validator=gt(0))  # width of the gate's hidden layer
    balance: float = attrs.field(default=0.01, validator=ge(0.0))  # weight of the balance term
