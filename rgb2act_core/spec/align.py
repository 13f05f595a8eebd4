"""What a spec says of alignment."""

from __future__ import annotations

from typing import Literal

import attrs

from ..interfaces import fields
from .checks import above, at_least, default, weights, within
from .choices import FusionChoice

TAUS = (0.01, 1.0)  # a learned temperature stays between


@attrs.frozen(kw_only=True)
class AlignLoss:
    """Weigh the terms of the alignment loss."""

    infonce: float = attrs.field(default=0.1, validator=at_least(0))
    """Two-way InfoNCE between RGB and teacher embeddings (arXiv 1807.03748)."""
    mse: float = attrs.field(default=1.0, validator=at_least(0))
    """Mean squared error to the standardised teacher embedding."""
    sigmoid: float = attrs.field(default=0.0, validator=at_least(0))
    """Sigmoid loss over pairs, in place of InfoNCE or beside it (arXiv 2303.15343)."""
    cosine: float = attrs.field(default=0.0, validator=at_least(0))
    """One minus the cosine to the teacher's embedding."""
    self_contrast: float = attrs.field(default=0.0, validator=at_least(0))
    """InfoNCE between the adapted, pooled tokens of every two backbones of a frame."""
    entropy: float = attrs.field(default=0.0, validator=at_least(0))
    """Against fusion that looks at one backbone alone: how far mean shares are from equal."""
    local: float = fields.added_later(default=0.0, validator=at_least(0))
    """Soft matching of fused tokens with the teacher's group tokens, by cosine at temperature
    ``temperature``, which is not learned here; the teacher must offer such tokens (``ulip`` and
    ``cloudstats`` do)."""
    chamfer: float = fields.added_later(default=0.0, validator=at_least(0))
    """Squared distance of each fused token to the nearest group token, and the other way round."""
    mse_on: Literal["embedding", "normalised"] = "embedding"
    """What the squared error is taken of: embeddings, or embeddings at length 1."""
    temperature: float = attrs.field(default=0.1, validator=above(0))
    """Temperature; where it is learned, the one it begins with."""
    learn_temperature: bool = False
    """Whether InfoNCE's temperature is learned, within 0.01 and 1; that of the sigmoid loss always
    is."""
    negatives: Literal["batch", "gradcache", "bank"] = "batch"
    """Where InfoNCE's negatives are from: the batch; a batch of any size at the memory of
    ``align.micro_batch`` frames, exactly; or, for the student, all training frames."""
    exclude_within_steps: int = attrs.field(default=2, validator=at_least(0))
    """Frames of one episode this close in time are not negatives of one another."""
    exclude_above_cosine: float = attrs.field(default=1.0, validator=within(-1, 1))
    """Frames whose teacher embeddings have a larger cosine are no negatives either; 1 for none."""

    @property
    def grouped(self) -> bool:
        """Return whether the teacher's group tokens are needed."""
        return bool(self.local or self.chamfer)

    def __attrs_post_init__(self) -> None:
        """Refuse a loss without a term."""
        if not (self.infonce or self.mse or self.sigmoid or self.cosine):
            raise ValueError("infonce, mse, sigmoid and cosine are all 0: nothing would be learned")
        for name in ("learn_temperature", "negatives"):
            value = getattr(self, name)
            if not self.infonce and value in (True, "bank"):
                raise ValueError(f"{name} = {value!r} is read by InfoNCE alone, and infonce is 0")
        low, high = TAUS
        if (self.learn_temperature or self.sigmoid) and not low <= self.temperature <= high:
            raise ValueError(
                f"temperature must be within {low} and {high} to be learned,"
                f" got {self.temperature!r}"
            )


@attrs.frozen(kw_only=True)
class Augment:
    """Say how features are made poorer while the aligner learns."""

    token_dropout: float = attrs.field(default=0.0, validator=within(0, 0.99))
    """Share of the tokens that are replaced by their mean."""
    noise: float = attrs.field(default=0.0, validator=at_least(0))
    """Standard deviation of noise on each channel, in units of the channel's own."""
    backbone_dropout: float = attrs.field(default=0.0, validator=within(0, 0.99))
    """Share of the frames from which a backbone is missing; one is always left."""


@attrs.frozen(kw_only=True)
class Context:
    """Let the fused tokens of a frame look at one another, those of all its cameras."""

    layers: int = attrs.field(default=0, validator=at_least(0))
    """Transformer layers, each normalised before; 0 for none."""
    heads: int = attrs.field(default=8, validator=at_least(1))
    """Attention heads, which share ``align.token_dim`` evenly."""
    hidden: int = attrs.field(default=4, validator=at_least(1))
    """Width of the layer between, in multiples of ``align.token_dim``."""
    position: Literal["sincos", "learned"] = "sincos"
    """How a token says at which row and column of its camera it is: sines and cosines, or a learned
    vector a place; it is never the order in which tokens were drawn."""
    dropout: float = attrs.field(default=0.0, validator=within(0, 0.99))
    """Share of what a layer adds that is dropped in training."""

    def __attrs_post_init__(self) -> None:
        """Refuse to say how layers are where there are none."""
        for field in attrs.fields(Context):
            value = getattr(self, field.name)
            if not self.layers and value != field.default:
                raise ValueError(f"{field.name} = {value!r} says how layers are, and layers is 0")


@attrs.frozen(kw_only=True)
class Align:
    """Say how RGB features learn to land where the teacher's embedding lands."""

    fusion: FusionChoice
    """Fusion of the backbones' tokens."""
    embedding_dim: int = attrs.field(default=64, validator=at_least(1))
    """Width of the layer that is projected into the teacher's space."""
    token_dim: int = attrs.field(default=32, validator=at_least(1))
    """Width of adapted and fused tokens."""
    adapter: Literal["narrow", "wide"] = fields.added_later(default="narrow")
    """Each backbone's network: C to width to width; or twice as wide between, with each token
    normalised after."""
    tokens: int = fields.added_later(default=0, validator=at_least(0))
    """Places of the common grid that a training step looks at, the same for all backbones, cameras
    and frames of its batch, drawn anew each step; 0 for all. Whatever is measured or acts looks at
    all of them."""
    replacement: bool = fields.added_later(default=False)
    """Whether a place may be drawn several times in a step; what is drawn twice is computed
    twice."""
    context: Context = fields.added_later(default=Context())
    """Attention among the fused tokens of a frame."""
    sample: Literal["step", "window"] = fields.added_later(default="step")
    """What is aligned: a frame with the teacher's embedding of it; or the window of frames that
    ends at it with the mean of the teacher's embeddings of the same frames. What acts looks at such
    windows too, those that end at the frames that the policy looks at."""
    window: int = fields.added_later(default=4, validator=at_least(2))
    """Frames of a window; before an episode's first frame stands that frame again, and a scene
    stands still."""
    stride: int = fields.added_later(default=1, validator=at_least(1))
    """Steps between the frames of a window."""
    aggregate: Literal["mean", "attention"] = fields.added_later(default="mean")
    """How the embeddings of a window's frames become one: their mean, or a mean with learned
    weights, by what is in a frame and how old it is."""
    pool: Literal["mean", "attention", "keypoints"] = "keypoints"
    """How tokens become one vector; ``keypoints`` is soft-argmax maps with values."""
    keypoint_maps: int = attrs.field(default=16, validator=at_least(1))
    """Attention maps a camera (attention, keypoints)."""
    keypoint_values: int = attrs.field(default=4, validator=at_least(1))
    """Values each map carries (keypoints)."""
    mlp_dim: int = attrs.field(default=128, validator=at_least(1))
    """Width of the layer between pool and embedding."""
    loss: AlignLoss = AlignLoss()
    """Weights of the loss terms."""
    augment: Augment = Augment()
    """What is done to features in training."""
    teacher_space: Literal["raw", "centred", "standardised", "whitened"] = "standardised"
    """What the teacher's embeddings are before they are compared: as they come; without the mean
    of the training frames; divided by their deviation too; or without their correlations."""
    teacher_floor: float = attrs.field(default=0.1, validator=within(0, 1))
    """Smallest deviation that the teacher's dimensions are divided by, as a share of the root mean
    square over dimensions: what hardly varies is mostly noise and is not blown up."""
    steps: int = attrs.field(default=2000, validator=at_least(1))
    """Optimiser steps."""
    batch_size: int = attrs.field(default=64, validator=at_least(2))
    """Frames a step."""
    micro_batch: int = attrs.field(default=0, validator=at_least(0))
    """Frames embedded at once with ``loss.negatives = "gradcache"``."""
    precision: Literal["float32", "bfloat16"] = fields.added_later(default="float32")
    """Of the products over tokens in training; weights, pools, losses and whatever is measured or
    acts are float32. Slower where the processor has no bfloat16 units."""
    ema: float = attrs.field(default=0.0, validator=within(0, 0.99999))
    """Decay of averaged weights, which become the aligner; 0 for none."""
    lr: float = attrs.field(default=2e-3, validator=above(0))
    """Peak learning rate of AdamW."""
    weight_decay: float = attrs.field(default=1e-4, validator=at_least(0))
    """Weight decay of AdamW."""
    warmup: int = attrs.field(default=50, validator=at_least(0))
    """Steps of linear warm-up before the cosine."""
    grad_clip: float = attrs.field(default=1.0, validator=above(0))
    """Largest norm of the gradient."""
    holdout: float = attrs.field(default=0.1, validator=within(0, 0.9))
    """Share of each task's episodes that is kept from training and measured on."""
    task_weights: dict[str, float] = fields.added_later(factory=dict, validator=weights)
    """How often a frame of a task is drawn, by the task's name; left out, a task has 1, so that
    each frame counts equally."""

    def __attrs_post_init__(self) -> None:
        """Refuse options that contradict one another."""
        if (self.loss.negatives == "gradcache") != bool(self.micro_batch):
            raise ValueError(
                f"micro_batch = {self.micro_batch} and loss.negatives ="
                f" {self.loss.negatives!r}: give both a micro_batch and 'gradcache', or neither"
            )
        if self.context.layers and self.token_dim % self.context.heads:
            raise ValueError(
                f"context.heads = {self.context.heads} does not divide"
                f" token_dim = {self.token_dim}; choose another number of heads"
            )
        for name in ("window", "stride", "aggregate"):
            if self.sample == "step" and getattr(self, name) != default(Align, name):
                value = getattr(self, name)
                raise ValueError(
                    f"{name} = {value!r} is read by sample = 'window' alone; remove it"
                )
        if self.replacement and not self.tokens:
            raise ValueError("replacement = true says how tokens are drawn, and tokens is 0")
