"""The table ``[align]``."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, gt, le, optional

from ..interfaces import fields
from .choices import FusionChoice
from .validators import MOST, MOST_LAYERS, MOST_STEPS, MOST_WIDTH, between, task_weights

LEARNED_TEMPERATURES = (0.01, 1.0)  # range of a learned temperature

FLOORS = {"raw": 0.0, "centred": 0.0, "standardised": 1.0, "whitened": 0.1}  # by teacher_space


@attrs.frozen(kw_only=True)
class AlignLoss:
    """Weights and settings of the alignment losses. A weight of 0 turns a loss off."""

    infonce: float = attrs.field(default=0.1, validator=ge(0))
    """Symmetric InfoNCE between RGB and teacher embeddings (arXiv 1807.03748)."""
    mse: float = attrs.field(default=1.0, validator=ge(0))
    """Mean squared error to the teacher embedding."""
    sigmoid: float = attrs.field(default=0.0, validator=ge(0))
    """Pairwise sigmoid loss, instead of InfoNCE or in addition to it (arXiv 2303.15343)."""
    cosine: float = attrs.field(default=0.0, validator=ge(0))
    """1 - cosine similarity to the teacher embedding."""
    self_contrast: float = attrs.field(default=0.0, validator=ge(0))
    """InfoNCE between the adapted, pooled tokens of each pair of backbones in a frame."""
    entropy: float = attrs.field(default=0.0, validator=ge(0))
    """Penalty on fusion weights that are far from uniform, against a fusion that uses only one
    backbone."""
    local: float = fields.added_later(default=0.0, validator=ge(0))
    """Soft matching of the fused tokens to the teacher's group tokens, by cosine similarity with
    ``temperature``, which this loss does not learn. The teacher must provide group tokens
    (``ulip`` and ``cloudstats`` do)."""
    chamfer: float = fields.added_later(default=0.0, validator=ge(0))
    """Chamfer distance between fused tokens and group tokens: the squared distance of each token to
    the nearest one of the other set."""
    mse_on: Literal["embedding", "normalised"] = "embedding"
    """Whether ``mse`` compares the embeddings or the embeddings scaled to length 1."""
    temperature: float = attrs.field(default=0.1, validator=gt(0))
    """Temperature of the contrastive losses; the initial value if it is learned."""
    learn_temperature: bool = False
    """Learn the temperature of InfoNCE, between 0.01 and 1. The temperature of the sigmoid loss is
    always learned."""
    negatives: Literal["batch", "gradcache", "bank"] = "batch"
    """Negatives of InfoNCE. ``batch``: the other frames of the batch. ``gradcache``: the same for
    batches that do not fit in memory, computed exactly in parts of ``align.micro_batch`` frames
    (arXiv 2101.06983). ``bank``: the teacher embeddings of all training frames."""
    exclude_within_steps: int = attrs.field(default=2, validator=between(0, MOST_STEPS))
    """Frames of the same episode at most this many steps apart are not used as negatives for each
    other."""
    exclude_above_cosine: float = attrs.field(default=1.0, validator=[ge(-1), le(1)])
    """Frames whose teacher embeddings have a higher cosine similarity are not used as negatives for
    each other. 1 excludes none."""

    @property
    def grouped(self) -> bool:
        """Return whether a loss needs the teacher's group tokens."""
        return bool(self.local or self.chamfer)

    @property
    def learns_temperature(self) -> bool:
        """Return whether the aligner has a temperature that is trained."""
        return self.learn_temperature or bool(self.sigmoid)

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for losses that cannot train an aligner and for unused settings."""
        if not (self.infonce or self.mse or self.sigmoid or self.cosine):
            raise ValueError(
                "infonce, mse, sigmoid and cosine are all 0, so there is nothing to learn; set one"
                " of them above 0"
            )
        for name in ("learn_temperature", "negatives"):
            value = getattr(self, name)
            if not self.infonce and value in (True, "bank"):
                raise ValueError(
                    f"{name} = {value!r} is used only by InfoNCE, and infonce is 0; remove it"
                )
        low, high = LEARNED_TEMPERATURES
        if self.learns_temperature and not low <= self.temperature <= high:
            raise ValueError(
                f"temperature must be between {low} and {high} if it is learned,"
                f" got {self.temperature!r}"
            )


@attrs.frozen(kw_only=True)
class Augment:
    """Feature augmentation during alignment."""

    token_dropout: float = attrs.field(default=0.0, validator=[ge(0), le(0.99)])
    """Fraction of the tokens that are replaced by the mean token."""
    noise: float = attrs.field(default=0.0, validator=ge(0))
    """Standard deviation of Gaussian noise on each channel, relative to the channel's own standard
    deviation."""
    backbone_dropout: float = attrs.field(default=0.0, validator=[ge(0), le(0.99)])
    """Probability that a backbone is dropped from a frame. At least one backbone is kept."""


@attrs.frozen(kw_only=True)
class Context:
    """Transformer over the fused tokens of all cameras of a frame."""

    layers: int = attrs.field(default=0, validator=between(0, MOST_LAYERS))
    """Pre-norm transformer layers; 0 for none."""
    heads: int = attrs.field(default=8, validator=between(1, MOST_WIDTH))
    """Attention heads; must divide ``align.token_dim``."""
    hidden: int = attrs.field(default=4, validator=between(1, MOST_WIDTH))
    """Width of the feed-forward layer, as a multiple of ``align.token_dim``."""
    position: Literal["sincos", "learned"] = "sincos"
    """Position embedding of a token's row and column in its camera: sine and cosine, or learned."""
    dropout: float = attrs.field(default=0.0, validator=[ge(0), le(0.99)])
    """Dropout on the residual branches in training."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for settings of layers if there are none."""
        for field in attrs.fields(Context):
            value = getattr(self, field.name)
            if not self.layers and value != field.default:
                raise ValueError(
                    f"{field.name} = {value!r} has no effect with layers = 0; remove it or set"
                    " layers"
                )


@attrs.frozen(kw_only=True)
class Align:
    """Alignment of RGB features to the teacher's embedding."""

    fusion: FusionChoice
    """How the tokens of several backbones are fused."""
    embedding_dim: int = attrs.field(default=64, validator=between(1, MOST_WIDTH))
    """Size of the RGB embedding, before it is projected to the size of the teacher embedding."""
    token_dim: int = attrs.field(default=32, validator=between(1, MOST_WIDTH))
    """Size of the adapted and fused tokens."""
    adapter: Literal["narrow", "wide"] = fields.added_later(default="narrow")
    """Adapter of each backbone, a two-layer MLP on its tokens. ``narrow``: the hidden layer has
    ``token_dim`` units. ``wide``: it has twice as many, and the output is layer-normalised."""
    tokens: int = fields.added_later(default=0, validator=between(0, MOST))
    """Grid positions sampled in each training step, the same ones for all backbones, cameras and
    frames of the batch; 0 for all positions. This includes the steps of ``end_to_end`` and
    ``finetuned``, which train the aligner with the policy. Evaluation and acting always use all
    positions."""
    replacement: bool = fields.added_later(default=False)
    """Sample grid positions with replacement."""
    context: Context = fields.added_later(default=Context())
    """Transformer over the fused tokens of a frame."""
    sample: Literal["step", "window"] = fields.added_later(default="step")
    """What is aligned. ``step``: each frame with its teacher embedding. ``window``: each window of
    frames with the mean teacher embedding of its frames. The policy then also observes windows,
    which end at the frames it observes."""
    window: int = fields.added_later(default=4, validator=between(2, 1000))
    """Frames per window. At the start of an episode, the first frame is repeated to fill the
    window; a scene's only frame fills all of it."""
    stride: int = fields.added_later(default=1, validator=between(1, 1000))
    """Steps between the frames of a window."""
    aggregate: Literal["mean", "attention"] = fields.added_later(default="mean")
    """How the embeddings of a window's frames are combined: their mean, or a weighted mean whose
    weights are learned from each frame's content and age."""
    pool: Literal["mean", "attention", "keypoints"] = "keypoints"
    """How the tokens of a frame are pooled into one vector: their mean, attention pooling, or
    spatial soft-argmax keypoints with values."""
    keypoint_maps: int = attrs.field(default=16, validator=between(1, MOST_WIDTH))
    """Attention maps per camera for ``pool = "attention"`` and ``"keypoints"``."""
    keypoint_values: int = attrs.field(default=4, validator=between(1, MOST_WIDTH))
    """Values per map for ``pool = "keypoints"``."""
    mlp_dim: int = attrs.field(default=128, validator=between(1, MOST_WIDTH))
    """Size of the hidden layer between pooling and embedding."""
    loss: AlignLoss = AlignLoss()
    """Weights and settings of the losses."""
    augment: Augment = Augment()
    """Feature augmentation in training."""
    teacher_space: Literal["raw", "centred", "standardised", "whitened"] = "standardised"
    """Preprocessing of the teacher embeddings, with statistics of the training frames. ``raw``:
    none. ``centred``: subtract the mean. ``standardised``: also divide by the standard deviation.
    ``whitened``: also remove correlations."""
    teacher_floor: float | None = attrs.field(default=None, validator=optional([ge(0), le(1)]))
    """Smallest standard deviation that an embedding dimension is divided by, as a fraction of the
    root mean square over all dimensions. 1 amplifies no dimension that varies less than the root
    mean square: such dimensions are often predicted less accurately, and the policy observes them
    too. Smaller values give them more weight. If omitted, 1, and 0.1 for ``whitened``. It has no
    effect with ``raw`` and ``centred``, which divide by nothing."""
    steps: int = attrs.field(default=2000, validator=between(1, MOST_STEPS))
    """Optimiser steps."""
    batch_size: int = attrs.field(default=64, validator=between(2, MOST))
    """Frames per optimiser step."""
    micro_batch: int = attrs.field(default=0, validator=between(0, MOST))
    """Frames that are embedded at once with ``loss.negatives = "gradcache"``."""
    precision: Literal["float32", "tf32", "bfloat16"] = fields.added_later(default="float32")
    """Precision of matrix products in training. Weights, evaluation and acting use float32.
    ``bfloat16``: products over tokens, without pooling and losses; slower on hardware without
    bfloat16 units. ``tf32``: all products on NVIDIA GPUs from inputs rounded to TF32; no effect on
    other devices."""
    ema: float = attrs.field(default=0.0, validator=[ge(0), le(0.99999)])
    """Decay of the exponential moving average of the weights, which becomes the aligner. 0 for
    none."""
    lr: float = attrs.field(default=2e-3, validator=gt(0))
    """Peak learning rate of AdamW."""
    weight_decay: float = attrs.field(default=1e-4, validator=ge(0))
    """Weight decay of AdamW."""
    warmup: int = attrs.field(default=50, validator=between(0, MOST_STEPS))
    """Steps of linear warm-up before the cosine decay of the learning rate."""
    grad_clip: float = attrs.field(default=1.0, validator=gt(0))
    """Maximum gradient norm."""
    holdout: float = attrs.field(default=0.1, validator=[ge(0), le(0.9)])
    """Fraction of each task's episodes that is held out for validation."""
    task_weights: dict[str, float] = fields.added_later(factory=dict, validator=task_weights)
    """Sampling weight of each task's frames, by task name. The default is 1: all frames are equally
    likely."""

    @property
    def floor(self) -> float:
        """Return ``teacher_floor``, or its default for the teacher space."""
        return FLOORS[self.teacher_space] if self.teacher_floor is None else self.teacher_floor

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys that contradict each other."""
        if (self.loss.negatives == "gradcache") != bool(self.micro_batch):
            raise ValueError(
                f"micro_batch = {self.micro_batch} contradicts loss.negatives ="
                f" {self.loss.negatives!r}; set both micro_batch and negatives = 'gradcache', or"
                " neither"
            )
        if self.context.layers and self.token_dim % self.context.heads:
            raise ValueError(
                f"context.heads = {self.context.heads} does not divide"
                f" token_dim = {self.token_dim}; choose another number of heads"
            )
        for name in ("window", "stride", "aggregate"):
            value = getattr(self, name)
            if self.sample == "step" and value != attrs.fields_dict(Align)[name].default:
                raise ValueError(
                    f"{name} = {value!r} is used only with sample = 'window'; remove it"
                )
        if self.replacement and not self.tokens:
            raise ValueError("replacement = true has no effect with tokens = 0; set tokens")
