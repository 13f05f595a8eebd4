"""The config of the DINOv3 backbone, and its official weights."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, optional

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

LICENCE = "DINOv3 License"
REGISTERS = 4

Variant = Literal["vits16", "vits16plus", "vitb16", "vitl16", "vith16plus", "vit7b16"]
Pretraining = Literal["lvd1689m", "sat493m"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of a network."""

    dim: int  # C
    depth: int
    heads: int
    hidden: int  # hidden units of the MLP
    gated: bool  # SwiGLU instead of GELU
    bias: bool = True  # of queries and values
    registers: int = REGISTERS
    patch: int = 16  # pixels


@attrs.frozen(kw_only=True)
class Shipped:
    """A variant: its sizes, its name in timm, and its official files."""

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


@attrs.frozen(kw_only=True)
class Dinov3:
    """A DINOv3 vision transformer, applied to each frame."""

    weights: str = fields.weights()
    """Path of a checkpoint in the layout of Meta, Hugging Face or timm (a file, a folder or an
    index of shards), ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "vitb16"
    """Official file for ``weights = "hub"``, and sizes for ``"random"``. For a path, the sizes are
    read from the file."""
    source: Literal["facebook", "timm"] = "facebook"
    """Repositories for ``weights = "hub"``: Meta's, which are gated, or the copies of timm."""
    pretraining: Pretraining = "lvd1689m"
    """Pretraining data: web images, or satellite images (``vitl16`` and ``vit7b16`` only). It also
    selects the mean and standard deviation for normalising images."""
    size: int = attrs.field(default=256, validator=ge(1))
    """Height and width in pixels that images are resized to; a multiple of the patch size, 16."""
    resize: Literal["squash", "native"] = "squash"
    """``"squash"`` ignores the aspect ratio, as the official code does. ``"native"`` scales each
    side to the nearest multiple of the patch size."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=deep_iterable(ge(0)))
    """Blocks, counted from 0, whose outputs are concatenated along the channels, each after the
    final norm. Empty for the last block."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and activations."""
    dim: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Channels, instead of the variant's. For tests with random weights."""
    depth: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Blocks, instead of the variant's. For tests with random weights."""
    heads: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Attention heads, instead of the variant's, or for a file that does not contain them."""

    def __attrs_post_init__(self) -> None:
        if self.weights != "random" and (self.dim or self.depth):
            raise ValueError("dim and depth are only for weights = 'random'; remove them")
        if self.pretraining not in SHIPPED[self.variant].files:
            raise ValueError(
                f"there are no {self.pretraining!r} weights of {self.variant!r};"
                " use 'vitl16' or 'vit7b16'"
            )

    @property
    def official(self) -> OfficialWeights:
        """The official file of the variant."""
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
        """The variant's sizes, with those that the config sets."""
        it = SHIPPED[self.variant].sizes
        dim = it.dim if self.dim is None else self.dim
        return attrs.evolve(
            it,
            dim=dim,
            depth=it.depth if self.depth is None else self.depth,
            heads=it.heads if self.heads is None else self.heads,
            hidden=it.hidden * dim // it.dim,
        )
