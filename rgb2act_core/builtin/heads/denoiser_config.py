"""Sizes of the denoising networks, shared by the policy heads ``diffusion`` and ``flow``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

from typing import Literal, Protocol

import attrs
from attrs.validators import and_, deep_iterable, ge, le, max_len, min_len


@attrs.frozen(kw_only=True)
class Mlp:
    """Residual MLP over the flattened plan; small and fast, any horizon."""

    width: int = attrs.field(default=384, validator=[ge(1), le(10**8)])
    """Width of the hidden layers."""
    blocks: int = attrs.field(default=3, validator=[ge(1), le(1000)])
    """Residual blocks of two layers each."""


@attrs.frozen(kw_only=True)
class Unet:
    """Conditional 1-D UNet with FiLM (arXiv 2303.04137)."""

    down_dims: tuple[int, ...] = attrs.field(
        default=(256, 512, 1024),
        validator=[min_len(1), max_len(10), deep_iterable(and_(ge(1), le(10**8)))],
    )
    """Channels of each level. Every level after the first halves the plan's length; odd lengths
    are padded internally."""
    kernel_size: int = attrs.field(default=5, validator=[ge(1), le(1001)])
    """Kernel size of the convolutions; odd."""
    groups: int = attrs.field(default=8, validator=[ge(1), le(10**8)])
    """Groups of the group normalisation."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for invalid sizes."""
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size!r}")
        for dim in self.down_dims:
            if dim % self.groups or dim == self.groups:
                raise ValueError(
                    f"down_dims must be multiples of groups = {self.groups} and larger, got {dim!r}"
                )

    @property
    def stride(self) -> int:
        """Return the number of plan steps per step of the deepest level."""
        return int(2 ** (len(self.down_dims) - 1))


@attrs.frozen(kw_only=True)
class Transformer:
    """Transformer that attends to the observations by cross-attention."""

    width: int = attrs.field(default=256, validator=[ge(1), le(10**8)])
    """Width of the tokens."""
    layers: int = attrs.field(default=4, validator=[ge(1), le(1000)])
    """Decoder layers over the plan; one encoder layer reads the observations."""
    heads: int = attrs.field(default=4, validator=[ge(1), le(10**8)])
    """Attention heads."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for a width that is not a multiple of ``heads``."""
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads = {self.heads}, got {self.width!r}"
            )


class Denoising(Protocol):
    """The fields that the configs of all denoising heads have."""

    @property
    def denoiser(self) -> Literal["mlp", "unet", "transformer"]:
        """Name of the selected network."""

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
