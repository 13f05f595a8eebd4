"""What a spec can say about Depth Anything 3, and the sizes of its variants."""

from __future__ import annotations

from typing import Any, Literal

import attrs

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
PATCH = 14  # pixels a side


@attrs.frozen(kw_only=True)
class Sizes:
    """Say how large a network is."""

    dim: int
    depth: int  # blocks
    heads: int
    views_from: int | None  # block from which odd blocks look at all views; None: no block does
    gated: bool = False  # SwiGLU in place of the plain MLP
    side: int = 37  # rows and columns of the learned position table

    @property
    def paired(self) -> bool:
        """Say whether a layer's features are two halves: last per-frame output, normed output."""
        return self.views_from is not None

    @property
    def first_shared(self) -> int:
        """Return the first block that looks at all views; ``depth`` when none does."""
        if self.views_from is None:
            return self.depth
        return min(self.views_from + (self.views_from + 1) % 2, self.depth)

    @property
    def channels(self) -> int:
        """Return how many channels one layer's features have."""
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


def _at_least(low: int) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: int) -> None:
        if value < low:
            raise ValueError(f"must be at least {low}, got {value!r}")

    return check


@attrs.frozen(kw_only=True)
class DA3:
    """Describe each patch by a layer of Depth Anything 3."""

    weights: str = fields.weights()
    """``hub`` fetches the official file, ``random`` draws features that mean nothing; or a path."""
    variant: Variant = "base"
    """Which model; ``file`` takes the sizes from the weights file, ``tiny`` is for tests."""
    layers: tuple[int, ...] = (-1,)
    """Blocks whose outputs are taken, from 0 or, negative, from the end; several lie side by side
    in the channels, in this order."""
    context: int = attrs.field(default=1, validator=_at_least(1))
    """Frames seen together: the newest, whose features are taken, and those before it."""
    reference: Reference = "first"
    """Which frame of three or more is the reference view. The official default saddle_balanced
    picks it by content, so that features may jump from one frame to the next."""
    resize: Literal["upper_bound", "lower_bound", "native"] = "upper_bound"
    """Scale the longest or the shortest side to ``size``, or neither. Then each side goes to the
    nearest multiple of 14."""
    size: int = attrs.field(default=504, validator=_at_least(PATCH))
    """Pixels of the side that ``resize`` names."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers that weights are kept and multiplied in; sums along the blocks stay float32."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "file" and self.weights in ("hub", "random"):
            raise ValueError(
                f"weights: {self.weights!r} does not say which sizes variant 'file' has;"
                " give a path, or name a variant"
            )
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: there are no official ones of 'tiny'; set 'random'")
        if self.variant != "file":
            self.check(VARIANTS[self.variant])

    @property
    def official(self) -> OfficialWeights:
        """Return where the official file is; of ``base`` when the variant has none."""
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
        """Raise ValueError for what a network of these sizes cannot do."""
        deep = sizes.depth
        if not self.layers or any(not -deep <= layer < deep for layer in self.layers):
            raise ValueError(
                f"layers: got {list(self.layers)}; give one or more of {-deep} to {deep - 1}"
            )
        if self.context > 1 and sizes.views_from is None:
            raise ValueError(
                f"context: variant {self.variant!r} looks at one frame, got {self.context};"
                " set context = 1 or take another variant"
            )

    def blocks(self, sizes: Sizes) -> tuple[int, ...]:
        """Return ``layers`` counted from the first block."""
        return tuple(layer % sizes.depth for layer in self.layers)
