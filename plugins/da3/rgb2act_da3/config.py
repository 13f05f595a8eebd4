"""The config of the Depth Anything 3 backbone, and its official weights."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

Variant = Literal[
    "small",
    "base",
    "large",
    "large-1.1",
    "giant",
    "giant-1.1",
    "mono-large",
    "metric-large",
    "tiny",
    "file",
]
Reference = Literal["first", "middle", "saddle_balanced", "saddle_sim_range"]
PATCH = 14  # height and width in pixels


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of a network."""

    dim: int
    depth: int  # blocks
    heads: int
    views_from: int | None  # block from which odd blocks attend to all views; None for none
    gated: bool = False  # SwiGLU instead of GELU
    side: int = 37  # rows and columns of the learned position embedding

    @property
    def paired(self) -> bool:
        """Whether features are the last per-frame output and the normed output, concatenated."""
        return self.views_from is not None

    @property
    def first_shared(self) -> int:
        """The first block that attends to all views; ``depth`` if there is none."""
        if self.views_from is None:
            return self.depth
        return min(self.views_from + (self.views_from + 1) % 2, self.depth)

    @property
    def channels(self) -> int:
        """Channels of the features of one layer."""
        return self.dim * 2 if self.paired else self.dim


LARGE = Sizes(dim=1024, depth=24, heads=16, views_from=8)
GIANT = Sizes(dim=1536, depth=40, heads=24, views_from=13, gated=True)
MONO = attrs.evolve(LARGE, views_from=None)
VARIANTS: dict[str, Sizes] = {
    "small": Sizes(dim=384, depth=12, heads=6, views_from=4),
    "base": Sizes(dim=768, depth=12, heads=12, views_from=4),
    "large": LARGE,
    "large-1.1": LARGE,
    "giant": GIANT,
    "giant-1.1": GIANT,
    "mono-large": MONO,
    "metric-large": MONO,
    "tiny": Sizes(dim=48, depth=6, heads=3, views_from=2, side=4),
}
NONCOMMERCIAL = ("large", "large-1.1", "giant", "giant-1.1")  # CC BY-NC 4.0, else Apache-2.0


@attrs.frozen(kw_only=True)
class DA3:
    """A Depth Anything 3 network, applied to windows of frames."""

    weights: str = fields.weights()
    """Path of a checkpoint, ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "base"
    """Model size. ``file`` reads the sizes from the file in ``weights``; ``tiny`` is for tests."""
    layers: tuple[int, ...] = (-1,)
    """Blocks whose outputs are concatenated along the channels, counted from 0, or from the end if
    negative."""
    context: int = attrs.field(default=1, validator=ge(1))
    """Frames per window: the newest, whose tokens are returned, and those before it."""
    reference: Reference = "first"
    """Reference view in windows of three or more frames. The official default
    ``saddle_balanced`` selects it by content, so features can change abruptly between frames."""
    resize: Literal["upper_bound", "lower_bound", "native"] = "upper_bound"
    """Scale the longest side (``upper_bound``) or the shortest side (``lower_bound``) to ``size``,
    or neither. Each side is then resized to the nearest multiple of the patch size, 14."""
    size: int = attrs.field(default=504, validator=ge(PATCH))
    """Size in pixels for ``resize``."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and matrix products. The residual stream uses float32."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "file" and self.weights in ("hub", "random"):
            raise ValueError(
                f"weights: {self.weights!r} is not a file to read the sizes from;"
                " give a path, or choose another variant"
            )
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: variant 'tiny' has no official weights; set 'random'")
        if self.variant != "file":
            self.check(VARIANTS[self.variant])

    @property
    def official(self) -> OfficialWeights:
        """The official file of the variant; that of ``base`` for ``tiny`` and ``file``."""
        variant = "base" if self.variant in ("tiny", "file") else self.variant
        dash = "" if variant in ("mono-large", "metric-large") else "-"
        return OfficialWeights(
            name=f"Depth Anything 3 {variant.upper()}",
            filename="model.safetensors",
            repo=f"depth-anything/DA3{dash}{variant.upper()}",
            size=1_643_843_860 if variant in ("large", "large-1.1") else None,
            licence="CC BY-NC 4.0" if variant in NONCOMMERCIAL else "Apache-2.0",
        )

    def check(self, sizes: Sizes) -> None:
        """Raise ValueError if a network of these sizes does not support the config."""
        deep = sizes.depth
        if not self.layers or any(not -deep <= layer < deep for layer in self.layers):
            raise ValueError(
                f"layers: must be one or more of {-deep} to {deep - 1}, got {list(self.layers)}"
            )
        if self.context > 1 and sizes.views_from is None:
            raise ValueError(
                f"context: variant {self.variant!r} encodes single frames, got {self.context};"
                " set context = 1 or choose another variant"
            )

    def blocks(self, sizes: Sizes) -> tuple[int, ...]:
        """Return ``layers``, counted from the first block."""
        return tuple(layer % sizes.depth for layer in self.layers)
