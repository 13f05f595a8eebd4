"""What a spec can say about DINOv3, and where its official files are."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

LICENCE = "DINOv3 License"
REGISTERS = 4

Variant = Literal["vits16", "vits16plus", "vitb16", "vitl16", "vith16plus", "vit7b16"]
Pretraining = Literal["lvd1689m", "sat493m"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Say what shapes a network."""

    dim: int  # C
    depth: int
    heads: int
    hidden: int  # width of the MLP
    gated: bool  # SwiGLU in place of GELU
    bias: bool = True  # of queries and values
    registers: int = REGISTERS
    patch: int = 16  # pixels


@attrs.frozen(kw_only=True)
class Shipped:
    """Hold a variant's sizes, timm's name for it, and the bytes of its file under Meta's keys."""

    sizes: Sizes
    timm: str
    files: tuple[Pretraining, ...] = ("lvd1689m",)
    sharded: bool = False


SHIPPED: dict[str, Shipped] = {
    "vits16": Shipped(
        sizes=Sizes(dim=384, depth=12, heads=6, hidden=1536, gated=False),
        timm="vit_small_patch16_dinov3_qkvb",
    ),
    "vits16plus": Shipped(
        sizes=Sizes(dim=384, depth=12, heads=6, hidden=1536, gated=True),
        timm="vit_small_plus_patch16_dinov3_qkvb",
    ),
    "vitb16": Shipped(
        sizes=Sizes(dim=768, depth=12, heads=12, hidden=3072, gated=False),
        timm="vit_base_patch16_dinov3_qkvb",
    ),
    "vitl16": Shipped(
        sizes=Sizes(dim=1024, depth=24, heads=16, hidden=4096, gated=False),
        timm="vit_large_patch16_dinov3_qkvb",
        files=("lvd1689m", "sat493m"),
    ),
    "vith16plus": Shipped(
        sizes=Sizes(dim=1280, depth=32, heads=20, hidden=5120, gated=True),
        timm="vit_huge_plus_patch16_dinov3_qkvb",
    ),
    "vit7b16": Shipped(
        sizes=Sizes(dim=4096, depth=40, heads=32, hidden=8192, gated=True, bias=False),
        timm="vit_7b_patch16_dinov3",
        files=("lvd1689m", "sat493m"),
        sharded=True,
    ),
}


def _positive(_: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"must be at least 1, got {value!r}")


def _from_zero(_: Any, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if any(layer < 0 for layer in value):
        raise ValueError(f"counts blocks from 0, got {value!r}")


@attrs.frozen(kw_only=True)
class Dinov3:
    """Encode each frame by a DINOv3 vision transformer."""

    weights: str = fields.weights()
    """Path of a checkpoint in Meta's, Hugging Face's or timm's layout (a file, a folder or an index
    of shards), ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "vitb16"
    """Which official file ``"hub"`` fetches and ``"random"`` imitates; a file at a path says itself
    what it is."""
    source: Literal["facebook", "timm"] = "facebook"
    """Whose repositories ``"hub"`` looks in: Meta's, which are gated, or timm's copies."""
    pretraining: Pretraining = "lvd1689m"
    """Images the weights were learned from: the web, or satellites (``vitl16`` and ``vit7b16``).
    It decides the mean and standard deviation that images are normalised with."""
    size: int = attrs.field(default=256, validator=_positive)
    """Side in pixels of the square image that the model sees; a multiple of the patch, 16."""
    resize: Literal["squash", "native"] = "squash"
    """``"squash"`` ignores the aspect, as upstream does; ``"native"`` keeps the image, its sides
    scaled to the nearest multiple of the patch."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=_from_zero)
    """Blocks, from 0, whose outputs are laid one behind another in the channels, each under the
    final norm; empty takes the last."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What weights and activations are held in."""
    dim: int | None = attrs.field(default=None, validator=_positive)
    """Channels, in place of the variant's; for tests, with random weights only."""
    depth: int | None = attrs.field(default=None, validator=_positive)
    """Blocks, in place of the variant's; for tests, with random weights only."""
    heads: int | None = attrs.field(default=None, validator=_positive)
    """Attention heads, in place of the variant's, and of what a file leaves open."""

    def __attrs_post_init__(self) -> None:
        if self.weights != "random" and (self.dim or self.depth):
            raise ValueError("dim and depth are for weights = 'random'; take them out")
        if self.pretraining not in SHIPPED[self.variant].files:
            raise ValueError(
                f"there is no {self.variant!r} of {self.pretraining!r}; take 'vitl16' or 'vit7b16'"
            )

    @property
    def official(self) -> OfficialWeights:
        """Return the official file of the variant."""
        shipped, trained = SHIPPED[self.variant], self.pretraining
        filename = "model.safetensors"
        if self.source == "timm":
            repo, accept = f"timm/{shipped.timm}.{trained}", None
        else:
            repo = f"facebook/dinov3-{self.variant}-pretrain-{trained}"
            accept = f"https://huggingface.co/{repo}"
            filename += ".index.json" if shipped.sharded else ""
        return OfficialWeights(
            name=f"DINOv3 {self.variant} {trained}",
            filename=filename,
            repo=repo,
            licence=LICENCE,
            accept=accept,
        )

    @property
    def sizes(self) -> Sizes:
        """Return the variant's sizes, with those that are set."""
        it = SHIPPED[self.variant].sizes
        dim = it.dim if self.dim is None else self.dim
        return attrs.evolve(
            it,
            dim=dim,
            depth=it.depth if self.depth is None else self.depth,
            heads=it.heads if self.heads is None else self.heads,
            hidden=it.hidden * dim // it.dim,
        )
