"""The config of the student ``timm``, and its factory. Light: timm is imported to build it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge, le, optional

from rgb2act_core.interfaces import StudentShape, fields
from rgb2act_core.weights import OfficialWeights

from .config import Layer, Timm, known_layer

if TYPE_CHECKING:
    import torch


@attrs.frozen(kw_only=True)
class TimmStudentConfig:
    """A model of timm with keypoint pooling, trained further as a student."""

    model: str = "resnet18"
    """Name in timm. ``rgb2act backbones --timm resnet`` lists names."""
    weights: str = fields.weights()
    """Weights that training starts from, as of the backbone ``timm``: ``"hub"``, ``"package"``, a
    path, or ``"random"``."""
    layer: Layer | None = attrs.field(default=None, validator=optional(known_layer))
    """Layer whose map is pooled, as of the backbone ``timm``. Later layers are not
    computed."""
    scale: float = attrs.field(default=1.0, validator=[ge(1 / 16), le(16.0)])
    """Factor by which both sides of an image are resized, and then rounded to the nearest multiple
    of the model's stride."""
    keypoints: int = attrs.field(default=32, validator=[ge(1), le(4096)])
    """Attention maps per camera."""
    hidden: int = attrs.field(default=256, validator=[ge(1), le(65536)])
    """Width of the hidden layers between keypoints and embedding."""

    @property
    def official(self) -> OfficialWeights:
        """The official weights file of the model."""
        return Timm(model=self.model, weights=self.weights).official


@attrs.frozen
class TimmStudent:
    """The student ``timm``."""

    config: TimmStudentConfig

    def check(self, shape: StudentShape) -> str | None:
        """Return why the model does not take the images, or None if it does."""
        from .student import problem_of

        return problem_of(self.config, shape)

    def module(self, shape: StudentShape, pretrained: bool) -> torch.nn.Module:
        """Return the network, with the weights that the config names if ``pretrained``."""
        from .student import load_student

        return load_student(self.config, shape, pretrained)
