"""The policy: what is observed, normalisation, and the head, in one module.

The same module trains and acts, so statistics, layout and horizon cannot be lost between the two.

Shapes: B = batch, O = n_obs_steps, F = features of a frame, J = joints seen, D = observation,
S = horizon, A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn

from .aligner import Aligned, Aligner
from .records import HeadShape, PolicyHead

FLOOR = 1e-3  # smallest deviation or half range that normalising divides by


@attrs.frozen(kw_only=True)
class PolicyShape:
    """Say what a policy is built for: everything but its weights."""

    condition: str
    proprio: bool
    features: int  # F; 0 when blind
    states: tuple[str, ...]  # names of the true states seen (oracle)
    cameras: tuple[str, ...]
    image: tuple[int, int]
    action_names: tuple[str, ...]  # all of the environment's
    action_index: tuple[int, ...]  # the A that are moved
    horizon: int
    n_obs_steps: int
    n_action_steps: int

    @property
    def head(self) -> HeadShape:
        """Return what the head is built for."""
        moved = len(self.action_index)
        return HeadShape(
            obs_dim=self.features + (moved if self.proprio else 0),
            n_obs_steps=self.n_obs_steps,
            action_dim=moved,
            horizon=self.horizon,
        )


class Policy(nn.Module):
    """Plan actions in physical units from features and joints."""

    feature_mean: Tensor  # (F,)
    feature_std: Tensor
    joint_mean: Tensor  # (J,)
    joint_std: Tensor
    action_middle: Tensor  # (A,)
    action_half: Tensor

    def __init__(self, shape: PolicyShape, head: PolicyHead, aligner: Aligner | None) -> None:
        super().__init__()
        self.shape = shape
        self.aligner = aligner
        self.head = head.module(shape.head)
        moved = len(shape.action_index)
        for name, size in (("feature", shape.features), ("joint", moved)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("action_middle", torch.zeros(moved))
        self.register_buffer("action_half", torch.ones(moved))

    @torch.no_grad()
    def set_statistics(
        self, features_NF: Tensor | None, joints_NJ: Tensor, actions_NA: Tensor
    ) -> None:
        """Take statistics of the training frames: deviations of what is seen, limits of actions.

        Features that vary less than the others are not blown up: they are divided by the root
        mean square deviation. A dimension that never changes is centred and keeps its value.
        """
        if features_NF is not None and self.shape.features:
            std = _take(features_NF, self.feature_mean, self.feature_std)
            self.feature_std.clamp_min_(std.square().mean().sqrt())
        if self.shape.proprio:
            _take(joints_NJ, self.joint_mean, self.joint_std)
        low, high = actions_NA.min(0).values, actions_NA.max(0).values
        self.get_buffer("action_middle").copy_((low + high) / 2)
        self.get_buffer("action_half").copy_(((high - low) / 2).clamp_min(FLOOR))

    def align(self, tokens: Sequence[Tensor]) -> Aligned:
        """Return what the aligner makes of frames, tokens (B, V, N, C), one tensor a backbone."""
        assert self.aligner is not None
        aligned: Aligned = self.aligner(tokens)
        return aligned

    def features(self, tokens: Sequence[Tensor]) -> Tensor:
        """Return features (B, F) of frames from tokens (B, V, N, C), one tensor a backbone."""
        return self.align(tokens).embedding

    def observe(self, features_BOF: Tensor, joints_BOJ: Tensor, noise: float = 0.0) -> Tensor:
        """Return normalised observations (B, O, D); noise is drawn for features alone."""
        parts = []
        if self.shape.features:
            seen = (features_BOF - self.feature_mean) / self.feature_std
            parts.append(seen + noise * torch.randn_like(seen) if noise else seen)
        if self.shape.proprio:
            parts.append((joints_BOJ - self.joint_mean) / self.joint_std)
        return torch.cat(parts, -1)

    def loss(self, obs_BOD: Tensor, actions_BSA: Tensor, mask_BS: Tensor) -> Tensor:
        """Return the head's loss on actions in physical units."""
        loss: Tensor = self.head.loss(  # type: ignore[operator]
            obs_BOD, (actions_BSA - self.action_middle) / self.action_half, mask_BS
        )
        return loss

    @torch.no_grad()
    def plan(self, obs_BOD: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return plans (B, S, A) in physical units; row i draws from ``generators[i]`` alone."""
        plan: Tensor = self.head.plan(obs_BOD, generators)  # type: ignore[operator]
        return plan * self.action_half + self.action_middle


def _take(values_NC: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Fill mean and deviation of (N, C) rows and return the deviation."""
    mean.copy_(values_NC.double().mean(0))
    deviation = values_NC.double().std(0, correction=min(1, len(values_NC) - 1))
    return std.copy_(deviation.clamp_min(FLOOR))
