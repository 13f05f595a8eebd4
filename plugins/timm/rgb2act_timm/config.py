"""The config of the backbone ``timm``. Light: timm is imported only to look a model up."""

from __future__ import annotations

import re
from typing import Literal

import attrs
from attrs.validators import deep_iterable, ge, in_, le, optional

from rgb2act_core import UserError
from rgb2act_core.interfaces import fields
from rgb2act_core.weights import OfficialWeights

from .packages import packaged

LARGEST = 8192  # pixels of a side

Layer = int | str
_STRIDE = re.compile(r"stride[0-9]{1,4}")


def known_layer(_: object, attribute: attrs.Attribute[Layer], value: Layer) -> None:
    """Raise ValueError unless a value names a layer."""
    if isinstance(value, str) and not _STRIDE.fullmatch(value):
        raise ValueError(
            f"must be the number of a layer or a stride, such as 'stride16', got {value!r}"
        )


@attrs.frozen(kw_only=True)
class Timm:
    """A model of timm, applied to each frame."""

    model: str = "tf_efficientnet_lite0"
    """Name in timm, such as ``vit_base_patch14_dinov2.lvd142m``. ``rgb2act backbones --timm dino``
    lists names."""
    weights: str = fields.weights()
    """``"hub"`` for timm's file on Hugging Face, ``"package"`` for the file of an installed package
    (``tf_efficientnet_lite0``, ``lite1`` and ``lite2``), the path of a checkpoint in timm's layout
    or in one that timm converts, or ``"random"``."""
    layer: Layer | None = attrs.field(default=None, validator=optional(known_layer))
    """Layer whose output becomes the tokens: the number of a block of a transformer or of a stage
    of a pyramid, counted from 0, or from the end if negative, or a stride in pixels, such as
    ``"stride8"``. If omitted: the last block, or the deepest stage with stride 16 of a pyramid."""
    layers: tuple[Layer, ...] = attrs.field(default=(), validator=deep_iterable(known_layer))
    """Several layers instead of one. Their channels are concatenated in the order of the model.
    Coarser maps are resampled to the grid of the finest one, bilinearly."""
    size: int | None = attrs.field(default=None, validator=optional([ge(1), le(LARGEST)]))
    """Height and width in pixels that images are resized to, ignoring the aspect ratio. If omitted,
    images keep their shape: each side is scaled by ``scale`` and rounded to the nearest multiple of
    the stride of the coarsest chosen layer, or of the model's coarsest one if it needs that."""
    scale: float = attrs.field(default=1.0, validator=[ge(1 / 16), le(16.0)])
    """Factor by which both sides of an image are resized, such as 2 for small images. Only
    without ``size``."""
    crop: bool = False
    """Whether only the centre of an image is used: the fraction of each side that the model's own
    evaluation keeps, timm's ``crop_pct``. Without, nothing at the borders is lost."""
    precision: Literal["float32", "bfloat16", "float16"] = attrs.field(
        default="float32", validator=in_(("float32", "bfloat16", "float16"))
    )
    """Precision of weights and activations."""

    def __attrs_post_init__(self) -> None:
        if self.layers and self.layer is not None:
            raise ValueError("layer and layers are both set; remove one of them")
        if self.size is not None and self.scale != 1:
            raise ValueError("size and scale are both set; remove one of them")

    @property
    def official(self) -> OfficialWeights:
        """The official weights file of the model."""
        if self.weights == "package":
            return packaged(self.model) or OfficialWeights(name=self.model, filename="")
        from .catalogue import pretrained  # imports torch

        return pretrained(self.model)

    @property
    def chosen(self) -> tuple[Layer, ...]:
        """The layers that the config names; empty for the default layer."""
        return self.layers or (() if self.layer is None else (self.layer,))


def refuse(problem: str) -> UserError:
    """Return an error about the backbone."""
    return UserError(f"timm: {problem}")
