"""The config of the VGGT backbone, and its official weights."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge

from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

Variant = Literal["1b", "1b-commercial", "tiny"]


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of a network."""

    dim: int = 1024  # C
    inner: int = 24  # blocks of the vision transformer that encodes single frames
    depth: int = 24  # pairs of a frame block and a global block
    heads: int = 16
    inner_registers: int = 4
    registers: int = 4
    patch: int = 14  # pixels
    side: int = 37  # rows and columns of the learned position embedding


FULL = Sizes()
TINY = Sizes(dim=48, inner=2, depth=3, heads=3, side=4)
REPOSITORIES = {"1b": "facebook/VGGT-1B", "1b-commercial": "facebook/VGGT-1B-Commercial"}


@attrs.frozen(kw_only=True)
class Vggt:
    """The aggregator of VGGT, applied to windows of frames."""

    weights: str = fields.weights()
    """Path of ``model.safetensors`` or ``model.pt``, ``"hub"`` for the official file of the
    variant, or ``"random"``."""
    variant: Variant = "1b"
    """Official file for ``weights = "hub"``, and sizes for ``"random"``. For a path, the sizes are
    read from the file. ``"tiny"`` is for tests."""
    context: int = attrs.field(default=1, validator=ge(1))
    """Frames per window: the newest, whose tokens are returned, and those before it. The oldest is
    VGGT's reference frame."""
    layers: tuple[int, ...] = attrs.field(default=(), validator=deep_iterable(ge(0)))
    """Pairs of frame and global attention blocks, counted from 0, whose outputs are concatenated
    along the channels. Empty for the last pair."""
    size: int = attrs.field(default=518, validator=ge(1))
    """Size in pixels for ``resize``; a multiple of the patch size, 14."""
    resize: Literal["crop", "pad", "native"] = "crop"
    """``"crop"`` scales the width to ``size`` and crops the height if it is larger. ``"pad"``
    scales the longer side to ``size`` and pads with white. These are the two modes of the official
    code. ``"native"`` scales each side to the nearest multiple of the patch size."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and matrix products. Norms and the residual stream use float32."""

    def __attrs_post_init__(self) -> None:
        if self.variant == "tiny" and self.weights == "hub":
            raise ValueError("weights: variant 'tiny' has no official weights; set 'random'")

    @property
    def official(self) -> OfficialWeights:
        """The official file of the variant; that of ``1b`` for ``tiny``."""
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
        """The variant's sizes."""
        return TINY if self.variant == "tiny" else FULL
