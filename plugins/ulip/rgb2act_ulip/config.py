"""What a spec can say about ULIP-2, and the sizes of its variants."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

Variant = Literal["xyzrgb", "xyz", "tiny"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Say how large a network is."""

    inputs: int = 6  # numbers of a point: x y z r g b, or x y z
    dim: int = 384
    depth: int = 18  # blocks
    heads: int = 6
    encoder: int = 256  # channels of a group before it becomes a token
    hidden: int = 4  # of a block's MLP, times dim
    out: int = 1280


@attrs.frozen(kw_only=True)
class Grouping:
    """Say how a cloud is cut into groups."""

    groups: int = 512
    size: int = 32  # points


VARIANTS: dict[str, tuple[Sizes, Grouping]] = {
    "xyzrgb": (Sizes(), Grouping()),
    "xyz": (Sizes(inputs=3, out=512), Grouping()),
    "tiny": (Sizes(dim=48, depth=3, heads=3, encoder=32, out=40), Grouping(groups=24, size=8)),
}


def _at_least(low: int) -> Any:
    def check(_: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
        if value is not None and value < low:
            raise ValueError(f"must be at least {low}, got {value!r}")

    return check


def _box(_: Any, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    if value and (len(value) != 6 or not all(value[a] < value[a + 3] for a in range(3))):
        raise ValueError(f"give [x, y, z, x, y, z], lowest corner first, got {list(value)}")


@attrs.frozen(kw_only=True)
class Ulip:
    """Embed coloured point clouds with ULIP-2's PointBERT."""

    weights: str = fields.weights()
    """``hub`` fetches the official file, ``random`` gives embeddings that mean nothing; or a
    path."""
    variant: Variant = "xyzrgb"
    """``xyzrgb`` sees 10,000 coloured points and yields 1280 numbers; ``xyz`` is the older file
    that sees no colour and yields 512; ``tiny`` is for tests. A file of another variant is
    refused."""
    points: int = attrs.field(default=10_000, validator=_at_least(1))
    """Points looked at: the farthest samples of a larger cloud. A smaller one is taken as it is."""
    fill: bool = False
    """Repeat the points of smaller clouds, in order, up to ``points``. Copies crowd the groups, so
    that each sees less of its surroundings; the original does it only to stack clouds."""
    order: Literal["given", "sorted"] = "given"
    """Sampling begins at a cloud's first point. ``sorted`` sorts the points by x, y, z first, so
    that their order does not matter."""
    crop: tuple[float, ...] = attrs.field(default=(), validator=_box)
    """Box to keep, lowest and highest corner: x, y, z, x, y, z in metres; empty keeps all."""
    ground: float = attrs.field(default=0.0, validator=_at_least(0))
    """Remove the largest level plane within this many metres and what lies beneath; 0 does not."""
    unit: bool = False
    """Scale embeddings to length 1, as the original does before it compares them."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers that are multiplied; sums along the blocks stay float32."""
    groups: int | None = attrs.field(default=None, validator=_at_least(1))
    """Groups a cloud is cut into; the variant's own (512) unless said."""
    group_size: int | None = attrs.field(default=None, validator=_at_least(1))
    """Points in a group; the variant's own (32) unless said."""
    heads: int | None = attrs.field(default=None, validator=_at_least(1))
    """Attention heads, which a weights file does not tell; the variant's own (6) unless said."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: there are no official ones of 'tiny'; set 'random'")
        if self.sizes.dim % self.sizes.heads:
            raise ValueError(f"heads: {self.sizes.dim} channels do not split in {self.heads!r}")

    @property
    def sizes(self) -> Sizes:
        """Return the sizes of the variant's network."""
        sizes = VARIANTS[self.variant][0]
        return attrs.evolve(sizes, heads=self.heads or sizes.heads)

    @property
    def grouping(self) -> Grouping:
        """Return how clouds are cut."""
        usual = VARIANTS[self.variant][1]
        return Grouping(groups=self.groups or usual.groups, size=self.group_size or usual.size)

    @property
    def official(self) -> OfficialWeights:
        """Return where the official file is."""
        if self.variant == "xyz":
            return OfficialWeights(
                name="the older ULIP-2 PointBERT without colours", filename="pointbert_ULIP-2.pt"
            )
        name = "ULIP-2-PointBERT-10k-xyzrgb-pc-vit_g-objaverse_shapenet-pretrained.pt"
        return OfficialWeights(
            name="ULIP-2 PointBERT 10k xyzrgb",
            filename=f"ULIP-2/pretrained_models/{name}",
            repo="SFXX/ulip",
            repo_type="dataset",
            licence="none stated",
        )
