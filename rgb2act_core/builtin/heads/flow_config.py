"""Options of the policy head ``flow``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, le

from .denoiser_config import Mlp, Transformer, Unet, check_denoiser, chosen


@attrs.frozen(kw_only=True)
class Flow:
    """Flow matching: learn a velocity field and integrate it from noise to a plan
    (arXiv 2210.02747).

    The table of the selected denoiser is optional; tables of other denoisers are rejected.
    """

    denoiser: Literal["mlp", "unet", "transformer"] = "mlp"
    """Network that predicts the velocity."""
    mlp: Mlp | None = None
    """Sizes for ``denoiser = "mlp"``."""
    unet: Unet | None = None
    """Sizes for ``denoiser = "unet"``."""
    transformer: Transformer | None = None
    """Sizes for ``denoiser = "transformer"``."""
    step_dim: int = attrs.field(default=128, validator=[ge(4), le(10**8)])
    """Width of the embedding of the time; even."""
    solver: Literal["euler", "midpoint"] = "euler"
    """ODE solver; ``midpoint`` evaluates the network twice per step."""
    sample_steps: int = attrs.field(default=8, validator=[ge(1), le(10_000)])
    """Integration steps per plan."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Precision of the large layers when plans are sampled; training is float32. ``int8`` is for
    CPUs, ``bfloat16`` for hardware with bfloat16 units."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys without effect."""
        check_denoiser(self)

    @property
    def net(self) -> Mlp | Unet | Transformer:
        """Return the sizes of the selected network."""
        return chosen(self)
