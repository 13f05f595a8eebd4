"""The table ``[distill]``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import ge, gt, le

from ..interfaces import fields
from .choices import StudentChoice
from .validators import MOST, MOST_STEPS, between


@attrs.frozen(kw_only=True)
class DistillLoss:
    """Weights of the distillation losses. A weight of 0 turns a loss off.

    The losses compare standardised outputs: the mean over the training frames is subtracted, and
    the result is divided by the root mean square deviation.
    """

    mse: float = attrs.field(default=1.0, validator=ge(0))
    """Mean squared error to the aligner's embedding."""
    cosine: float = attrs.field(default=0.0, validator=ge(0))
    """1 - cosine similarity to the aligner's embedding."""
    infonce: float = attrs.field(default=0.1, validator=ge(0))
    """Symmetric InfoNCE between student and aligner, against the other frames of the batch. Frames
    within ``align.loss.exclude_within_steps`` of each other are not used as negatives."""
    temperature: float = attrs.field(default=0.1, validator=gt(0))
    """Temperature of InfoNCE."""
    tokens: float = attrs.field(default=1.0, validator=ge(0))
    """Mean squared error to the fused tokens, for conditions that observe them."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError if there is nothing to learn."""
        if not (self.mse or self.cosine or self.infonce):
            raise ValueError(
                "mse, cosine and infonce are all 0, so there is nothing to learn; set one of them"
                " above 0"
            )


@attrs.frozen(kw_only=True)
class ImageAugment:
    """Augmentation of the student's images. The targets are those of the original images."""

    colour: float = attrs.field(default=0.2, validator=[ge(0), le(1)])
    """Largest relative change of brightness, contrast, saturation and each colour channel."""
    blur: float = attrs.field(default=0.7, validator=[ge(0), le(10)])
    """Largest standard deviation of a Gaussian blur, in pixels."""
    cutout: float = attrs.field(default=0.1, validator=[ge(0), le(0.5)])
    """Largest side of a grey rectangle in each image, as a fraction of the image's sides."""
    shift: float = attrs.field(default=0.0, validator=[ge(0), le(4)])
    """Largest translation of each image, in pixels. The target of a shifted image is that of the
    original, so the student learns objects' positions with at least this error."""


@attrs.frozen(kw_only=True)
class Distill:
    """Distillation of the frozen backbones and aligner into a student."""

    student: StudentChoice
    """The student's network."""
    head: Literal["kept", "trained"] = "kept"
    """Policy head of ``policy.encoder = "student"``. ``kept``: the head that was trained on the
    full encoder. ``trained``: a head that is trained on the student's outputs."""
    images: Path | None = fields.file(default=None)
    """Folder of unlabelled PNG and JPEG images to learn from in addition: one subfolder per camera,
    with the same file names in each, or the images themselves if there is one camera. They must
    have the size of the environment's images."""
    loss: DistillLoss = DistillLoss()
    """Weights of the losses."""
    augment: ImageAugment = ImageAugment()
    """Augmentation of the images in training."""
    steps: int = attrs.field(default=4000, validator=between(1, MOST_STEPS))
    """Optimiser steps."""
    batch_size: int = attrs.field(default=64, validator=between(2, MOST))
    """Frames per optimiser step."""
    lr: float = attrs.field(default=2e-3, validator=gt(0))
    """Peak learning rate of AdamW."""
    weight_decay: float = attrs.field(default=1e-4, validator=ge(0))
    """Weight decay of AdamW."""
    warmup: int = attrs.field(default=100, validator=between(0, MOST_STEPS))
    """Steps of linear warm-up before the cosine decay of the learning rate."""
    grad_clip: float = attrs.field(default=1.0, validator=gt(0))
    """Maximum gradient norm."""
    ema: float = attrs.field(default=0.995, validator=[ge(0), le(0.99999)])
    """Decay of the exponential moving average of the weights, which becomes the student. 0 for
    none."""
