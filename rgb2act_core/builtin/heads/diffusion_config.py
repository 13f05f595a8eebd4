"""Options of the policy head ``diffusion``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs
from attrs.validators import ge, gt, lt

from .denoiser_config import Mlp, Transformer, Unet, check_denoiser, chosen


@attrs.frozen(kw_only=True)
class Diffusion:
    """Learn and sample plans by denoising diffusion.

    The table of the chosen denoiser may be left out; a table of another one is an error.
    """

    denoiser: Literal["mlp", "unet", "transformer"] = "mlp"
    """Network that removes the noise."""
    mlp: Mlp | None = None
    """Sizes for ``denoiser = "mlp"``."""
    unet: Unet | None = None
    """Sizes for ``denoiser = "unet"``."""
    transformer: Transformer | None = None
    """Sizes for ``denoiser = "transformer"``."""
    step_dim: int = attrs.field(default=128, validator=ge(4))
    """Width of the embedding of the diffusion step; even."""
    train_steps: int = attrs.field(default=100, validator=ge(2))
    """Noise levels in training."""
    schedule: Literal["squaredcos_cap_v2", "linear"] = "squaredcos_cap_v2"
    """How noise grows with the level; ``linear`` is scaled to end in pure noise."""
    prediction: Literal["sample", "epsilon", "v_prediction"] = "sample"
    """What the network predicts: the clean plan, the noise, or the mix called velocity."""
    sampler: Literal["ddim", "ddpm", "dpm++"] = "ddim"
    """How plans are drawn; all but ``ddpm`` draw noise once, at the start."""
    sample_steps: int = attrs.field(default=10, validator=ge(1))
    """Network evaluations a plan."""
    clip_sample: bool = True
    """Whether the clean plan the sampler expects is kept within ``clip_range`` at every step."""
    clip_range: float = attrs.field(default=1.0, validator=[gt(0), lt(math.inf)])
    """Largest normalised action a clipped plan can hold: 1 is the range of the demonstrations
    when actions are scaled to -1 .. 1."""
    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """Arithmetic of the large layers when plans are drawn; training is float32. ``int8`` is for
    CPUs, ``bfloat16`` for hardware that has it."""

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
