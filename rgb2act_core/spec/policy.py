"""What a spec says of the policy: what it sees, does, and how it learns."""

from __future__ import annotations

from typing import Literal

import attrs

from ..interfaces import fields
from .checks import above, at_least, default, weights, within
from .choices import HeadChoice


@attrs.frozen(kw_only=True)
class ClosedLoop:
    """Say how the policy is tried in its environment while it is trained."""

    every: int = attrs.field(validator=at_least(1))
    """Optimiser steps from one trial to the next; the last weights are tried too."""
    episodes: int = attrs.field(default=20, validator=at_least(1))
    """Episodes of a trial in each task, the same each time."""
    first_seed: int = attrs.field(default=50_000, validator=at_least(0))
    """Seed of the first of them; those of ``[act]`` must be others."""


@attrs.frozen(kw_only=True)
class Policy:
    """Say what the policy sees, does, and how it learns."""

    head: HeadChoice
    """Network and diffusion process."""
    condition: Literal[
        "aligned",
        "dual",
        "tokens",
        "single_backbone",
        "random_aligner",
        "end_to_end",
        "proprio_only",
        "oracle",
    ] = "aligned"
    """What the head sees: the frozen aligner's vector; that and its fused tokens, pooled a camera;
    that and all its fused tokens, through cross-attention; one backbone's tokens, pooled a
    camera; an aligner with frozen random weights; an aligner trained with the head and no
    teacher; joints alone; the environment's true state."""
    backbone: str = ""
    """Backbone that ``single`` sees, by its name in the run (numbered where it is chosen twice);
    empty for the first."""
    proprio: bool = True
    """Whether the head sees joint positions besides."""
    arms: Literal["left", "right", "both"] = "both"
    """Arms the policy moves; an idle arm holds its pose."""
    gripper: bool = True
    """Whether the policy moves the grippers of its arms."""
    gripper_when_absent: Literal["error", "hold"] = "error"
    """What to do with grippers the environment has and the policy does not move."""
    horizon: int = attrs.field(default=16, validator=at_least(1))
    """Steps of a plan; step 0 is the action for the newest frame."""
    n_obs_steps: int = attrs.field(default=2, validator=at_least(1))
    """Newest frames the head sees."""
    n_action_steps: int = attrs.field(default=8, validator=at_least(1))
    """Steps of a plan that are executed before the next plan."""
    steps: int = attrs.field(default=8000, validator=at_least(1))
    """Optimiser steps."""
    batch_size: int = attrs.field(default=128, validator=at_least(1))
    """Samples a step."""
    lr: float = attrs.field(default=1e-3, validator=above(0))
    """Peak learning rate of AdamW."""
    weight_decay: float = attrs.field(default=1e-4, validator=at_least(0))
    """Weight decay of AdamW."""
    warmup: int = attrs.field(default=200, validator=at_least(0))
    """Steps of linear warm-up before the cosine."""
    grad_clip: float = attrs.field(default=1.0, validator=above(0))
    """Largest norm of the gradient."""
    ema: float = attrs.field(default=0.995, validator=within(0, 0.99999))
    """Decay of the averaged weights that act."""
    noise: float = attrs.field(default=0.05, validator=at_least(0))
    """Standard deviation of the noise on standardised features in training; ``direct`` gets none,
    its features have no scale yet."""
    normalise: Literal["limits", "quantiles", "mean_std"] = "limits"
    """Which range of each action becomes -1 .. 1, beyond which a head may clip: all that was
    demonstrated; its 1st to 99th percentile; three standard deviations around the mean."""
    holdout: float = attrs.field(default=0.05, validator=within(0, 0.9))
    """Share of each task's episodes that is kept from training and measured on."""
    tasks: Literal["shared", "embedding", "separate_heads"] = fields.added_later(
        default="embedding"
    )
    """How one policy learns several tasks: it is not told which one it is in; a learned vector
    tells it; or each task has a head and ranges of actions of its own."""
    task_width: int = fields.added_later(default=16, validator=at_least(1))
    """Width of the vector that tells the task (embedding)."""
    task_weights: dict[str, float] = fields.added_later(factory=dict, validator=weights)
    """How often a sample of a task is drawn, by the task's name; left out, a task has 1, so that
    each sample counts equally."""
    closed_loop: ClosedLoop | None = fields.added_later(default=None)
    """Trials while the policy is trained, as ``[act]`` says how; the weights that succeed most
    often become the policy. Left out, the last weights do."""

    def __attrs_post_init__(self) -> None:
        """Refuse plans that are executed beyond their end, and a policy that sees nothing."""
        if self.n_action_steps > self.horizon:
            raise ValueError(
                f"n_action_steps = {self.n_action_steps} is beyond horizon = {self.horizon};"
                " execute at most the whole plan"
            )
        if self.condition == "proprio_only" and not self.proprio:
            raise ValueError("condition = 'proprio_only' with proprio = false sees nothing at all")
        if self.tasks != "embedding" and self.task_width != default(Policy, "task_width"):
            raise ValueError(
                f"task_width = {self.task_width} is read by tasks = 'embedding' alone; remove it"
            )
        if self.backbone and self.condition != "single_backbone":
            raise ValueError(
                f"backbone = {self.backbone!r} is read by condition = 'single_backbone' alone;"
                " remove it"
            )
