"""The config of the ULIP-2 teacher, and its official weights."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from attrs.validators import ge, optional

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

Variant = Literal["xyzrgb", "xyz", "tiny"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of a network."""

    inputs: int = 6  # values per point: x y z r g b, or x y z
    dim: int = 384
    depth: int = 18  # blocks
    heads: int = 6
    encoder: int = 256  # channels of a group before it is projected to a token
    hidden: int = 4  # hidden units of a block's MLP, as a multiple of dim
    out: int = 1280


@attrs.frozen(kw_only=True)
class Grouping:
    """Number and size of the groups that a point cloud is divided into."""

    groups: int = 512
    size: int = 32  # points


VARIANTS: dict[str, tuple[Sizes, Grouping]] = {
    "xyzrgb": (Sizes(), Grouping()),
    "xyz": (Sizes(inputs=3, out=512), Grouping()),
    "tiny": (Sizes(dim=48, depth=3, heads=3, encoder=32, out=40), Grouping(groups=24, size=8)),
}


def _box(_: Any, attribute: attrs.Attribute[Any], value: tuple[float, ...]) -> None:
    if value and (len(value) != 6 or not all(value[a] < value[a + 3] for a in range(3))):
        raise ValueError(f"must be [x, y, z, x, y, z], lowest corner first, got {list(value)}")


@attrs.frozen(kw_only=True)
class Ulip:
    """The PointBERT encoder of ULIP-2, for coloured point clouds."""

    weights: str = fields.weights()
    """Path of a checkpoint, ``"hub"`` for the official file of the variant, or ``"random"``."""
    variant: Variant = "xyzrgb"
    """``xyzrgb``: 10,000 coloured points, 1280 channels. ``xyz``: an older model without colours,
    512 channels. ``tiny``: for tests. A checkpoint of another variant is an error."""
    points: int = attrs.field(default=10_000, validator=ge(1))
    """Larger clouds are reduced to this many points by farthest point sampling."""
    fill: bool = False
    """Repeat the points of smaller clouds up to ``points``. Groups then contain duplicates and
    cover a smaller neighbourhood. The official code does it to stack clouds into a batch."""
    order: Literal["given", "sorted"] = "given"
    """Order of the points before sampling, which starts at the first point. ``sorted`` sorts them
    by x, y, z, so that the result does not depend on their order."""
    crop: tuple[float, ...] = attrs.field(default=(), validator=_box)
    """Box to crop to: lowest and highest corner, x, y, z, x, y, z in metres. Empty for none."""
    ground: float = attrs.field(default=0.0, validator=ge(0))
    """Remove the largest horizontal plane, points within this distance of it (in metres), and all
    points below. 0 removes nothing."""
    unit: bool = False
    """Scale embeddings to length 1, as the official code does before it compares them."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of matrix products. The residual stream uses float32."""
    groups: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Groups per cloud; by default those of the variant (512)."""
    group_size: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Points per group; by default those of the variant (32)."""
    heads: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Attention heads, which checkpoints do not contain; by default those of the variant (6)."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: variant 'tiny' has no official weights; set 'random'")
        if self.sizes.dim % self.sizes.heads:
            raise ValueError(f"heads: must divide {self.sizes.dim} channels, got {self.heads!r}")

    @property
    def sizes(self) -> Sizes:
        """The variant's sizes, with the heads that the config sets."""
        sizes = VARIANTS[self.variant][0]
        return attrs.evolve(sizes, heads=self.heads or sizes.heads)

    @property
    def grouping(self) -> Grouping:
        """The variant's groups, with what the config sets."""
        default = VARIANTS[self.variant][1]
        return Grouping(groups=self.groups or default.groups, size=self.group_size or default.size)

    @property
    def official(self) -> OfficialWeights:
        """The official file of the variant."""
        if self.variant == "xyz":
            return OfficialWeights(
                name="ULIP-2 PointBERT without colours", filename="pointbert_ULIP-2.pt"
            )
        name = "ULIP-2-PointBERT-10k-xyzrgb-pc-vit_g-objaverse_shapenet-pretrained.pt"
        return OfficialWeights(
            name="ULIP-2 PointBERT 10k xyzrgb",
            filename=f"ULIP-2/pretrained_models/{name}",
            repo="SFXX/ulip",
            repo_type="dataset",
            licence="none stated",
        )
