"""What a spec can say about CroCo, and where its official files are."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

FILES = "https://download.europe.naverlabs.com/ComputerVision/CroCo/"
LICENCE = "CC BY-NC-SA 4.0, and the terms in upstream's NOTICE_CHECKPOINTS"

Variant = Literal["v2-large", "v2-base", "v2-base-small-decoder", "v1-base"]


@attrs.frozen(kw_only=True)
class Architecture:
    """Say what shapes an encoder; the defaults are those of a file that says nothing (v1)."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16  # pixels
    widening: float = 4.0  # width of the MLP over dim
    rope: float | None = None  # base of the rotary frequencies; None adds sines and cosines instead
    image: tuple[int, int] = (224, 224)  # pixels the added embedding is for


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


def _positive(_: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"must be at least 1, got {value!r}")


def _from_zero(_: Any, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if any(layer < 0 for layer in value):
        raise ValueError(f"counts blocks from 0, got {value!r}")


@attrs.frozen(kw_only=True)
class Croco:
    """Encode each frame by CroCo's encoder; the decoder is neither built nor loaded."""

    weights: str = fields.weights()
    """Path of a checkpoint, ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "v2-large"
    """Which official file ``"hub"`` fetches and ``"random"`` imitates; a file at a path says itself
    what it is."""
    size: int = attrs.field(default=224, validator=_positive)
    """Side in pixels of the square image that the model sees; a multiple of the patch, 16."""
    resize: Literal["squash", "crop", "native"] = "squash"
    """``"squash"`` ignores the aspect, ``"crop"`` scales the shorter side and cuts the middle out,
    ``"native"`` keeps the image, its sides scaled to the nearest multiple of the patch."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=_from_zero)
    """Blocks, from 0, whose outputs are laid one behind another in the channels, each under the
    final norm; empty takes the last, which is what upstream takes."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What weights and activations are held in."""
    dim: int | None = attrs.field(default=None, validator=_positive)
    """Channels, in place of the variant's; for tests, with random weights only."""
    depth: int | None = attrs.field(default=None, validator=_positive)
    """Blocks, in place of the variant's; for tests, with random weights only."""
    heads: int | None = attrs.field(default=None, validator=_positive)
    """Attention heads, in place of the variant's; for tests, with random weights only."""

    def __attrs_post_init__(self) -> None:
        if self.weights != "random" and (self.dim or self.depth or self.heads):
            raise ValueError("dim, depth and heads are for weights = 'random'; take them out")

    @property
    def official(self) -> OfficialWeights:
        """Return the official file of the variant."""
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
        """Return the variant's architecture, with the sizes that are set."""
        it = OFFICIAL[self.variant][1]
        return attrs.evolve(
            it,
            dim=it.dim if self.dim is None else self.dim,
            depth=it.depth if self.depth is None else self.depth,
            heads=it.heads if self.heads is None else self.heads,
        )
