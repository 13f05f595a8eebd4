"""Sizes of the denoising networks, shared by the policy heads ``diffusion`` and ``flow``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

from typing import Literal, Protocol

import attrs
from attrs.validators import deep_iterable, ge, min_len


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
        """Raise ValueError for sizes that the layers cannot have."""
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size!r}")
        for dim in self.down_dims:
            if dim % self.groups or dim == self.groups:
                raise ValueError(
                    f"down_dims must be multiples of groups = {self.groups} and larger, got {dim!r}"
                )

    @property
    def stride(self) -> int:
        """Return how many steps of a plan one step of the deepest level covers."""
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
        """Raise ValueError for a width that cannot be split into the heads."""
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads = {self.heads}, got {self.width!r}"
            )


class Denoising(Protocol):
    """The fields that the configs of all denoising heads have."""

    @property
    def denoiser(self) -> Literal["mlp", "unet", "transformer"]:
        """Name of the denoising network."""

    @property
    def mlp(self) -> Mlp | None:
        """Sizes of this network, if given."""

    @property
    def unet(self) -> Unet | None:
        """Sizes of this network, if given."""

    @property
    def transformer(self) -> Transformer | None:
        """Sizes of this network, if given."""

    @property
    def step_dim(self) -> int:
        """Width of the time embedding."""


def check_denoiser(config: Denoising) -> None:
    """Raise ValueError for the table of another network or an odd ``step_dim``."""
    for name in ("mlp", "unet", "transformer"):
        if name != config.denoiser and getattr(config, name) is not None:
            raise ValueError(
                f"{name} is given, but denoiser is {config.denoiser!r};"
                f" remove {name} or set denoiser = {name!r}"
            )
    if config.step_dim % 2:
        raise ValueError(f"step_dim must be even, got {config.step_dim!r}")


def chosen(config: Denoising) -> Mlp | Unet | Transformer:
    """Return the sizes of the selected network."""
    if config.denoiser == "mlp":
        return config.mlp or Mlp()
    if config.denoiser == "unet":
        return config.unet or Unet()
    return config.transformer or Transformer()
