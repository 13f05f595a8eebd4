"""What a spec can say about VGGT, and where its official files are."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

Variant = Literal["1b", "1b-commercial", "tiny"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Say what shapes a network."""

    dim: int = 1024  # C
    inner: int = 24  # blocks of the vision transformer that sees frames alone
    depth: int = 24  # pairs of a frame block and a global block
    heads: int = 16
    inner_registers: int = 4
    registers: int = 4
    patch: int = 14  # pixels
    side: int = 37  # rows and columns of the learned position table


FULL = Sizes()
TINY = Sizes(dim=48, inner=2, depth=3, heads=3, side=4)
REPOSITORIES = {"1b": "facebook/VGGT-1B", "1b-commercial": "facebook/VGGT-1B-Commercial"}


def _positive(_: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise ValueError(f"must be at least 1, got {value!r}")


def _from_zero(_: Any, attribute: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    if any(layer < 0 for layer in value):
        raise ValueError(f"counts pairs of blocks from 0, got {value!r}")


@attrs.frozen(kw_only=True)
class Vggt:
    """Describe each patch of the newest frame of a window by VGGT's aggregator."""

    weights: str = fields.weights()
    """Path of ``model.safetensors`` or ``model.pt``, ``"hub"`` for the official file of the
    variant, or ``"random"``."""
    variant: Variant = "1b"
    """Which official file ``"hub"`` fetches and ``"random"`` imitates; a file at a path says itself
    how large it is; ``"tiny"`` is for tests."""
    context: int = attrs.field(default=1, validator=_positive)
    """Frames seen together: the newest, whose features are taken, and those before it. The oldest
    of them is what VGGT calls the first frame."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=_from_zero)
    """Pairs of blocks, from 0, whose outputs are laid one behind another in the channels; empty
    takes the last."""
    size: int = attrs.field(default=518, validator=_positive)
    """Pixels of the side that ``resize`` names; a multiple of the patch, 14."""
    resize: Literal["crop", "pad", "native"] = "crop"
    """``"crop"`` scales the width to ``size`` and cuts what is higher, ``"pad"`` scales the longer
    side and fills up with white, as upstream's two modes do; ``"native"`` keeps the image, its
    sides scaled to the nearest multiple of the patch."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers that weights are kept and multiplied in; norms and sums along the blocks stay
    float32."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: there are no official ones of 'tiny'; set 'random'")

    @property
    def official(self) -> OfficialWeights:
        """Return the official file of the variant; of ``1b`` when it has none."""
        repo = REPOSITORIES.get(self.variant, REPOSITORIES["1b"])
        commercial = self.variant == "1b-commercial"
        return OfficialWeights(
            name=repo.partition("/")[2],
            filename="model.pt" if commercial else "model.safetensors",
            repo=repo,
            size=None if commercial else 5_026_367_224,
            licence="VGGT License" if commercial else "CC BY-NC 4.0",
            accept=f"https://huggingface.co/{repo}" if commercial else None,
        )

    @property
    def sizes(self) -> Sizes:
        """Return the variant's sizes."""
        return TINY if self.variant == "tiny" else FULL
