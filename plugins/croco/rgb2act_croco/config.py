"""The config of the CroCo backbone, and its official weights."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, optional

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

FILES = "https://download.europe.naverlabs.com/ComputerVision/CroCo/"
LICENCE = "CC BY-NC-SA 4.0, and the terms in upstream's NOTICE_CHECKPOINTS"

Variant = Literal["v2-large", "v2-base", "v2-base-small-decoder", "v1-base"]


@attrs.frozen(kw_only=True)
class Architecture:
    """Sizes of an encoder. The defaults are those of checkpoints without sizes (v1)."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16  # pixels
    widening: float = 4.0  # hidden units of the MLP, as a multiple of dim
    rope: float | None = None  # base of the rotary embedding; None for added sines and cosines
    image: tuple[int, int] = (224, 224)  # image size of the added embedding, in pixels


BASE = Architecture(rope=100.0)
OFFICIAL: dict[str, tuple[str, Architecture, int | None]] = {
    "v2-large": (
        "CroCo_V2_ViTLarge_BaseDecoder.pth",
        Architecture(dim=1024, depth=24, heads=16, rope=100.0),
        1_671_852_587,
    ),
    "v2-base": ("CroCo_V2_ViTBase_BaseDecoder.pth", BASE, None),
    "v2-base-small-decoder": ("CroCo_V2_ViTBase_SmallDecoder.pth", BASE, None),
    "v1-base": ("CroCo.pth", Architecture(), None),
}


@attrs.frozen(kw_only=True)
class Croco:
    """The encoder of CroCo, applied to each frame. The decoder is not used."""

    weights: str = fields.weights()
    """Path of a checkpoint, ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "v2-large"
    """Official file for ``weights = "hub"``, and sizes for ``"random"``. For a path, the sizes are
    read from the file."""
    size: int = attrs.field(default=224, validator=ge(1))
    """Height and width in pixels that images are resized to; a multiple of the patch size, 16."""
    resize: Literal["squash", "crop", "native"] = "squash"
    """``"squash"`` ignores the aspect ratio. ``"crop"`` scales the shorter side and crops the
    centre. ``"native"`` scales each side to the nearest multiple of the patch size."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=deep_iterable(ge(0)))
    """Blocks, counted from 0, whose outputs are concatenated along the channels, each after the
    final norm. Empty for the last block, which the official code uses."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and activations."""
    dim: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Channels, instead of the variant's. For tests with random weights."""
    depth: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Blocks, instead of the variant's. For tests with random weights."""
    heads: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Attention heads, instead of the variant's. For tests with random weights."""

    def __attrs_post_init__(self) -> None:
        if self.weights != "random" and (self.dim or self.depth or self.heads):
            raise ValueError("dim, depth and heads are only for weights = 'random'; remove them")

    @property
    def official(self) -> OfficialWeights:
        """The official file of the variant."""
        filename, _, size = OFFICIAL[self.variant]
        return OfficialWeights(
            name=f"CroCo {self.variant}",
            filename=filename,
            url=FILES + filename,
            size=size,
            licence=LICENCE,
        )

    @property
    def architecture(self) -> Architecture:
        """The variant's architecture, with the sizes that the config sets."""
        it = OFFICIAL[self.variant][1]
        return attrs.evolve(
            it,
            dim=it.dim if self.dim is None else self.dim,
            depth=it.depth if self.depth is None else self.depth,
            heads=it.heads if self.heads is None else self.heads,
        )
