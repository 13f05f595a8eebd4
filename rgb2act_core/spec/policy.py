"""The table ``[policy]``."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, gt, le

from ..interfaces import fields
from .choices import HeadChoice
from .conditions import CONDITIONS, Condition, ConditionName
from .validators import LARGEST_SEED, MOST, MOST_STEPS, MOST_WIDTH, between, task_weights


@attrs.frozen(kw_only=True)
class ClosedLoop:
    """Closed-loop evaluation during policy training."""

    every: int = attrs.field(validator=between(1, MOST_STEPS))
    """Optimiser steps between evaluations. The final weights are also evaluated."""
    episodes: int = attrs.field(default=20, validator=between(1, MOST))
    """Episodes per evaluation and task; every evaluation uses the same seeds."""
    first_seed: int = attrs.field(default=50_000, validator=between(0, LARGEST_SEED))
    """Seed of the first episode. The seeds must not overlap with those of ``[act]``."""


@attrs.frozen(kw_only=True)
class PolicySpec:
    """The policy: its observations, its action chunks and its training."""

    head: HeadChoice
    """Policy head that generates action chunks."""
    condition: ConditionName = "aligned"
    """What the head observes in addition to the joint positions, see Conditions."""
    encoder: Literal["full", "student"] = fields.added_later(default="full")
    """What computes the observations of a condition with a frozen, trained aligner when the policy
    acts: ``full``, all backbones and the aligner; ``student``, the network of ``[distill]``,
    without any backbone or its weights."""
    train_on: Literal["aligner", "teacher"] = fields.added_later(default="aligner")
    """Embeddings that the head is trained on, for a condition with a frozen, trained aligner:
    ``aligner``, those that the aligner computes from the demonstrations' images; ``teacher``, those
    that the teacher computes from their point clouds, without the aligner's errors. Acting and
    held-out episodes always use the aligner's embeddings. With ``teacher``, dimensions that
    ``align.teacher_space = "standardised"`` has standardised are not standardised again."""
    backbone: str = ""
    """Backbone for conditions that use the tokens of one backbone, by name. If a backbone is
    listed twice, the names are numbered (``croco-0``, ``croco-1``). Empty for the first."""
    proprio: bool = True
    """Also observe the joint positions."""
    arms: Literal["left", "right", "both"] = "both"
    """Arms that the policy controls. The other arm holds its pose."""
    gripper: bool = True
    """Whether the policy also controls the grippers of its arms."""
    gripper_when_absent: Literal["error", "hold"] = "error"
    """What to do if the environment has grippers that the policy does not control: raise an error,
    or hold their position."""
    horizon: int = attrs.field(default=16, validator=between(1, 10_000))
    """Length of an action chunk, in control steps. The first action belongs to the newest
    observation."""
    n_obs_steps: int = attrs.field(default=2, validator=between(1, 1000))
    """Number of frames that the head observes, ending with the newest."""
    history_stride: int = fields.added_later(default=1, validator=[ge(1), le(1000)])
    """Frames between two observed frames. With 8, the head observes frames t, t - 8, t - 16, ...;
    before the start of an episode, the first frame is repeated. Set it to ``n_action_steps`` for a
    robot or protocol that observes only once per plan."""
    n_action_steps: int = attrs.field(default=8, validator=between(1, 10_000))
    """Actions of a chunk that are executed before the policy plans again."""
    steps: int = attrs.field(default=8000, validator=between(1, MOST_STEPS))
    """Optimiser steps."""
    batch_size: int = attrs.field(default=128, validator=between(1, MOST))
    """Samples per optimiser step."""
    precision: Literal["float32", "tf32", "bfloat16"] = fields.added_later(default="float32")
    """Precision of matrix products in training. Weights, evaluation and acting use float32.
    ``bfloat16`` is slower on hardware without bfloat16 units. ``tf32``: on NVIDIA GPUs, inputs are
    rounded to TF32; no effect on other devices."""
    lr: float = attrs.field(default=1e-3, validator=gt(0))
    """Peak learning rate of AdamW."""
    weight_decay: float = attrs.field(default=1e-4, validator=ge(0))
    """Weight decay of AdamW."""
    warmup: int = attrs.field(default=200, validator=between(0, MOST_STEPS))
    """Steps of linear warm-up before the cosine decay of the learning rate."""
    grad_clip: float = attrs.field(default=1.0, validator=gt(0))
    """Maximum gradient norm."""
    ema: float = attrs.field(default=0.995, validator=[ge(0), le(0.99999)])
    """Decay of the exponential moving average of the weights. The averaged weights are used
    for evaluation and inference."""
    noise: float = attrs.field(default=0.05, validator=ge(0))
    """Standard deviation of the noise that is added to standardised features in training.
    ``end_to_end`` adds none, because its features are not standardised."""
    after_end: Literal["repeat", "mask"] = "repeat"
    """What action chunks contain past the end of an episode. ``repeat``: the last action, so that
    the policy stays where an episode ended; ``mask``: nothing, these steps have no loss."""
    normalise: Literal["limits", "quantiles", "mean_std"] = "limits"
    """Range of each action that is scaled to [-1, 1]: ``limits`` (minimum and maximum),
    ``quantiles`` (1st to 99th percentile), or ``mean_std`` (mean +- 3 standard deviations). Heads
    may clip actions outside it."""
    holdout: float = attrs.field(default=0.05, validator=[ge(0), le(0.9)])
    """Fraction of each task's episodes that is held out for validation."""
    tasks: Literal["shared", "embedding", "separate_heads"] = fields.added_later(
        default="embedding"
    )
    """How one policy handles several tasks. ``shared``: the policy does not observe which task it
    is in. ``embedding``: it observes a learned vector per task. ``separate_heads``: each task has
    its own head and action ranges."""
    task_width: int = fields.added_later(default=16, validator=between(1, MOST_WIDTH))
    """Size of the task vector for ``tasks = "embedding"``."""
    task_weights: dict[str, float] = fields.added_later(factory=dict, validator=task_weights)
    """Sampling weight of each task's samples, by task name. The default is 1: all samples are
    equally likely."""
    closed_loop: ClosedLoop | None = fields.added_later(default=None)
    """Evaluate the policy in the environment during training, with the settings of ``[act]``, and
    keep the weights with the highest success rate. By default the final weights are kept."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys that contradict each other."""
        if self.n_action_steps > self.horizon:
            raise ValueError(
                f"n_action_steps = {self.n_action_steps} exceeds horizon = {self.horizon};"
                " lower n_action_steps"
            )
        if self.history_stride > 1 and self.n_obs_steps == 1:
            raise ValueError(
                f"history_stride = {self.history_stride} is used only with n_obs_steps above 1;"
                " remove it"
            )
        if self.observes.joints_only and not self.proprio:
            raise ValueError(
                f"condition = {self.condition!r} with proprio = false leaves nothing to observe;"
                " set proprio = true"
            )
        if (
            self.tasks != "embedding"
            and self.task_width != attrs.fields(PolicySpec).task_width.default
        ):
            raise ValueError(
                f"task_width = {self.task_width} is used only with tasks = 'embedding'; remove it"
            )
        if self.encoder == "student" and self.observes.aligner != "trained":
            raise ValueError(
                f"encoder = 'student' replaces a trained and frozen aligner, which condition ="
                f" {self.condition!r} does not have; remove encoder, or choose 'aligned', 'dual' or"
                " 'tokens'"
            )
        if self.backbone and self.observes.backbones != "one":
            raise ValueError(
                f"backbone = {self.backbone!r} is used only with a condition of one backbone, such"
                " as 'single_backbone'; remove it"
            )

    @property
    def trains_on_teacher(self) -> bool:
        """Return whether the teacher's embeddings replace those of the aligner in training."""
        return self.train_on == "teacher" and self.observes.aligner == "trained"

    @property
    def observes(self) -> Condition:
        """Return the condition's record."""
        return CONDITIONS[self.condition]
