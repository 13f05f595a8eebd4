"""What a spec can say about the policy head ``diffusion``, and the checks that need no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol

import attrs
from attrs.validators import deep_iterable, ge, gt, lt, min_len

if TYPE_CHECKING:
    from torch import nn

    from ...interfaces import HeadShape


@attrs.frozen(kw_only=True)
class Mlp:
    """Denoise the flattened plan with a residual MLP: small, fast, for any horizon."""

    width: int = attrs.field(default=384, validator=ge(1))
    """Width of the hidden layers."""
    blocks: int = attrs.field(default=3, validator=ge(1))
    """Residual blocks of two layers each."""


@attrs.frozen(kw_only=True)
class Unet:
    """Denoise with a conditional 1-D UNet (arXiv 2303.04137), scaled and shifted by FiLM."""

    down_dims: tuple[int, ...] = attrs.field(
        default=(256, 512, 1024), validator=[min_len(1), deep_iterable(ge(1))]
    )
    """Channels of each level; every level after the first halves the plan's length,
    which is padded inside where it cannot be halved."""
    kernel_size: int = attrs.field(default=5, validator=ge(1))
    """Steps a convolution sees; odd."""
    groups: int = attrs.field(default=8, validator=ge(1))
    """Groups of the group normalisation."""

    def __attrs_post_init__(self) -> None:
        """Refuse sizes that the layers cannot have."""
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size!r}")
        for dim in self.down_dims:
            if dim % self.groups or dim == self.groups:
                raise ValueError(
                    f"down_dims must be multiples of groups = {self.groups} and larger, got {dim!r}"
                )

    @property
    def stride(self) -> int:
        """Return the number of steps that become one at the deepest level."""
        return int(2 ** (len(self.down_dims) - 1))


@attrs.frozen(kw_only=True)
class Transformer:
    """Denoise with a transformer that looks at the observations through cross-attention."""

    width: int = attrs.field(default=256, validator=ge(1))
    """Width of the tokens."""
    layers: int = attrs.field(default=4, validator=ge(1))
    """Decoder layers over the plan; one encoder layer reads the observations."""
    heads: int = attrs.field(default=4, validator=ge(1))
    """Attention heads."""

    def __attrs_post_init__(self) -> None:
        """Refuse a width that the heads cannot share."""
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads = {self.heads}, got {self.width!r}"
            )


class Denoising(Protocol):
    """Say which network denoises: what the configs of all heads here have."""

    @property
    def denoiser(self) -> Literal["mlp", "unet", "transformer"]:
        """Return the network's name."""

    @property
    def mlp(self) -> Mlp | None:
        """Return its sizes, if given."""

    @property
    def unet(self) -> Unet | None:
        """Return its sizes, if given."""

    @property
    def transformer(self) -> Transformer | None:
        """Return its sizes, if given."""

    @property
    def step_dim(self) -> int:
        """Return the width of the step's embedding."""


def check_denoiser(config: Denoising) -> None:
    """Raise ValueError for a table that would be ignored, or a width that cannot be halved."""
    for name in ("mlp", "unet", "transformer"):
        if name != config.denoiser and getattr(config, name) is not None:
            raise ValueError(
                f"{name} is given, but denoiser is {config.denoiser!r};"
                f" remove {name} or set denoiser = {name!r}"
            )
    if config.step_dim % 2:
        raise ValueError(f"step_dim must be even, got {config.step_dim!r}")


def chosen(config: Denoising) -> Mlp | Unet | Transformer:
    """Return the sizes of the chosen denoiser."""
    if config.denoiser == "mlp":
        return config.mlp or Mlp()
    if config.denoiser == "unet":
        return config.unet or Unet()
    return config.transformer or Transformer()


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
        """Refuse keys that would be ignored and steps that cannot be taken."""
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
        """Return the sizes of the chosen denoiser."""
        return chosen(self)


@attrs.frozen
class DiffusionHead:
    """Diffusion policy head (``interfaces.PolicyHead``); only ``module`` imports torch."""

    config: Diffusion

    def check(self, shape: HeadShape) -> str | None:
        """Return None: every shape will do."""
        return None

    def module(self, shape: HeadShape) -> nn.Module:
        """Return a new module with random weights from torch's global generator."""
        from .diffusion import DiffusionPolicy

        return DiffusionPolicy(self.config, shape)
