"""Options of the policy head ``diffusion``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs
from attrs.validators import ge, gt, le, lt

from .denoiser_config import Mlp, Transformer, Unet, check_denoiser, chosen


@attrs.frozen(kw_only=True)
class Diffusion:
    """Denoising diffusion (arXiv 2006.11239).

    The table of the selected denoiser is optional; tables of other denoisers are rejected.
    """

    denoiser: Literal["mlp", "unet", "transformer"] = "mlp"
    """Network that removes the noise."""
    mlp: Mlp | None = None
    """Sizes for ``denoiser = "mlp"``."""
    unet: Unet | None = None
    """Sizes for ``denoiser = "unet"``."""
    transformer: Transformer | None = None
    """Sizes for ``denoiser = "transformer"``."""
    step_dim: int = attrs.field(default=128, validator=[ge(4), le(10**8)])
    """Width of the embedding of the diffusion step; even."""
    train_steps: int = attrs.field(default=100, validator=[ge(2), le(10_000)])
    """Noise levels in training."""
    schedule: Literal["squaredcos_cap_v2", "linear"] = "squaredcos_cap_v2"
    """Noise schedule; ``linear`` is scaled to end in pure noise."""
    prediction: Literal["sample", "epsilon", "v_prediction"] = "sample"
    """What the network predicts: the clean plan, the noise, or the velocity (v-prediction)."""
    sampler: Literal["ddim", "ddpm", "dpm++"] = "ddim"
    """Sampler; ``ddpm`` adds noise in every step, the others only at the start."""
    sample_steps: int = attrs.field(default=10, validator=[ge(1), le(10_000)])
    """Network evaluations per plan."""
    clip_sample: bool = True
    """Clip the predicted clean plan to ``clip_range`` in every step."""
    clip_range: float = attrs.field(default=1.0, validator=[gt(0), lt(math.inf)])
    """Clip normalised actions to [-clip_range, clip_range]; 1 is the range selected by
    ``[policy] normalise``."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Precision of the large layers when plans are sampled; training is float32. ``int8`` is for
    CPUs, ``bfloat16`` for hardware with bfloat16 units."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys without effect and for too many sampling steps."""
        check_denoiser(self)
        if not self.clip_sample and self.clip_range != 1.0:
            raise ValueError("clip_range is given, but clip_sample is false; remove one of them")
        most = self.train_steps // (2 if self.sampler == "dpm++" else 1)
        if self.sample_steps > most:
            raise ValueError(
                f"sample_steps must be at most {most} for sampler = {self.sampler!r} and"
                f" train_steps = {self.train_steps}, got {self.sample_steps!r}"
            )

    @property
    def net(self) -> Mlp | Unet | Transformer:
        """Return the sizes of the selected network."""
        return chosen(self)
