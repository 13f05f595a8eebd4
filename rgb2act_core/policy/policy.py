"""The policy: observation, normalisation and head in one module.

Training and acting use the same module, so statistics, action layout and horizon always agree.

Shapes: B = batch, L = windows of K frames, O = n_obs_steps, F = features of a frame, N = tokens of
a frame, W = width of a token, J = joints observed, D = observation, S = horizon, A = controlled
action dimensions, V = cameras, C = channels of a backbone, D = fixed steps of a plan
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import cast

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from ..alignment.aligner import Aligned, Aligner
from ..data.standardization import Standardization
from ..data.windows import window_index
from ..distillation.student_encoder import StudentEncoder
from ..errors import UserError
from ..features.fingerprint import Fingerprint
from ..features.token_grids import TokenSample
from ..interfaces import Compilable, Inpainting, MultiPlan, Plans, PolicyHead, PolicyModule
from ..plugins.components import Capability
from ..spec import Tokens
from ..spec.conditions import CONDITIONS, Condition
from .conditioning import Features, FrameEncoder, Observation, features_of, over_windows
from .config import PolicyConfig
from .shared_batch import SharedBatch
from .task_heads import TaskHeads, as_policy_module

FLOOR = 1e-3  # smallest standard deviation or half range that normalisation divides by


class Policy(nn.Module):
    """A policy: features and joint positions in, plans of physical actions out.

    ``capabilities`` are those that the head's component declares. ``token_format`` is how the
    backbones' tokens were stored for training; planning encodes frames in the same format.
    ``fingerprints`` identify the backbones that the policy was trained with.
    """

    feature_mean: Tensor  # (F,)
    feature_std: Tensor
    token_mean: Tensor  # (W,)
    token_std: Tensor
    joint_mean: Tensor  # (J,)
    joint_std: Tensor
    action_middle: Tensor  # (A,), or (tasks, A) with a head per task
    action_half: Tensor

    def __init__(
        self,
        config: PolicyConfig,
        head: PolicyHead,
        aligner: FrameEncoder | None,
        *,
        capabilities: Set[Capability],
        token_format: Tokens,
        fingerprints: tuple[Fingerprint, ...] = (),
    ) -> None:
        super().__init__()
        self.source = "policy"  # the folder that it was loaded from, for messages
        self.config = config
        self.aligner, self.capabilities = aligner, capabilities
        self.token_format, self.fingerprints = token_format, fingerprints
        self.plan_limit = head.plan_limit
        many, moved = config.by_task == "separate_heads", len(config.action_index)
        if many:
            self.head: nn.Module = TaskHeads([head.module(config.head_shape) for _ in config.tasks])
        else:
            self.head = head.module(config.head_shape)
        if config.task_width:
            self.task_vectors = nn.Embedding(len(config.tasks), config.task_width)
        width = config.tokens[1] if config.tokens else 0
        for name, size in (("feature", config.features), ("token", width), ("joint", moved)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        ranges = (len(config.tasks), moved) if many else (moved,)
        self.register_buffer("action_middle", torch.zeros(ranges))
        self.register_buffer("action_half", torch.ones(ranges))

    @torch.no_grad()
    def set_statistics(
        self,
        features_N: Features | None,
        joints_NJ: Tensor,
        actions_NA: Tensor,
        normalise: str = "limits",
        task_N: Tensor | None = None,
        embedding_floor: float = 0.0,
    ) -> None:
        """Set the statistics of the training frames: means, deviations and ranges of actions.

        Features that vary less than the others of their part are not amplified: they are divided
        by the part's root mean square deviation. An action that never changes is centred on its
        value. With a head per task, each task has its own ranges. ``normalise`` is that of
        ``action_range``. ``embedding_floor`` is the smallest deviation that the aligner's embedding
        is divided by.
        """
        if features_N is not None and self.config.features:
            scale = Standardization.of(features_N.vector, FLOOR)
            scale.copy_to(self.feature_mean, self.feature_std)
            stds = self.feature_std.split(list(self.config.parts))
            for std in stds:
                std.clamp_min_(std.square().mean().sqrt())
            if self.aligner is not None:
                stds[0].clamp_min_(embedding_floor)
        if features_N is not None and features_N.tokens is not None:
            scale = Standardization.of(features_N.tokens.flatten(0, 1), FLOOR)
            scale.copy_to(self.token_mean, self.token_std)
            self.token_std.clamp_min_(self.token_std.square().mean().sqrt())
        if self.config.proprio:
            Standardization.of(joints_NJ, FLOOR).copy_to(self.joint_mean, self.joint_std)
        parts = [actions_NA]
        if self.action_middle.ndim == 2:
            assert task_N is not None
            parts = [actions_NA[task_N == task] for task in range(len(self.config.tasks))]
        ends = [torch.stack(action_range(part, normalise)) for part in parts]
        low, high = (end.view_as(self.action_middle) for end in torch.stack(ends, 1))
        self.get_buffer("action_middle").copy_((low + high) / 2)
        self.get_buffer("action_half").copy_(((high - low) / 2).clamp_min(FLOOR))

    def half_range(self, task: int) -> Tensor:
        """Return half the range of each action (A,) in the task with this index."""
        return self.action_half[task] if self.action_half.ndim == 2 else self.action_half

    def compile_plans(self) -> None:
        """Plan with compiled networks from now on; UserError if the head cannot."""
        if Capability.COMPILABLE not in self.capabilities:
            raise UserError("act.compile: this head does not compile its network; remove it")
        for head in self.head.each if isinstance(self.head, TaskHeads) else [self.head]:
            cast(Compilable, head).compile_plans()

    def normalised(self, actions: Tensor, task_B: Tensor | None) -> Tensor:
        """Return actions (B, ..., A) scaled so that their ranges are [-1, 1]."""
        middle, half = self._ranges(actions.ndim, task_B)
        return (actions - middle) / half

    def physical(self, actions: Tensor, task_B: Tensor | None) -> Tensor:
        """Return actions (B, ..., A) in physical units, the inverse of ``normalised``."""
        middle, half = self._ranges(actions.ndim, task_B)
        return actions * half + middle

    def _ranges(self, ndim: int, task_B: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.action_half.ndim == 1:
            return self.action_middle, self.action_half
        assert task_B is not None
        shape = (-1, *[1] * (ndim - 2), self.action_half.shape[1])
        return self.action_middle[task_B].view(shape), self.action_half[task_B].view(shape)

    def align(
        self,
        tokens: Sequence[Tensor],
        windows_LK: Tensor | None = None,
        sample: TokenSample | None = None,
    ) -> Aligned:
        """Return the aligner's outputs for tokens (B, V, N, C), one tensor per backbone.

        With a sample, the tokens are only those that its cells are interpolated from.
        """
        assert isinstance(self.aligner, Aligner)
        aligned: Aligned = self.aligner(tokens, sample=sample, windows_LK=windows_LK)
        return aligned

    @property
    def has_student(self) -> bool:
        """Return whether the policy reads images through a student, without backbones."""
        return isinstance(self.aligner, StudentEncoder)

    @property
    def reach(self) -> int:
        """Return how many earlier steps a frame's features depend on; 0 without windows."""
        return 0 if self.aligner is None else self.aligner.config.reach

    def over_windows(self, frames: Features) -> Features:
        """Return features of all frames of an episode, each of the window that ends at it."""
        if not self.reach:
            return frames
        assert self.aligner is not None
        shape, steps = self.aligner.config, np.arange(len(frames.vector))
        windows = torch.from_numpy(window_index(steps, shape.window, shape.stride))
        return over_windows(self.aligner, frames, windows)

    @property
    def condition(self) -> Condition:
        """Return what the policy observes."""
        return CONDITIONS[self.config.condition]

    def features(self, tokens: Sequence[Tensor], state_BS: Tensor) -> Features:
        """Return features of B single frames.

        ``tokens`` are (B, V, N, C) of each backbone that the condition uses; ``state_BS`` are the
        privileged features, of width 0 unless the condition includes them.
        """
        return features_of(self.condition, self.aligner, tokens, state_BS)

    def observe(
        self,
        features: Features,
        joints_BOJ: Tensor,
        noise: float = 0.0,
        task_B: Tensor | None = None,
    ) -> Observation:
        """Return normalised observations of features (B, O, ...) and joints.

        ``noise`` is the standard deviation of Gaussian noise on the normalised features. ``task_B``
        are task indices, needed if the policy has several tasks.
        """
        parts, tokens = [], None
        if self.config.features:
            vector = (features.vector - self.feature_mean) / self.feature_std
            parts.append(_noisy(vector, noise))
        if self.config.tokens:
            assert features.tokens is not None
            tokens = _noisy((features.tokens.float() - self.token_mean) / self.token_std, noise)
        if self.config.proprio:
            parts.append((joints_BOJ - self.joint_mean) / self.joint_std)
        if self.config.task_width:
            assert task_B is not None
            vector_BX = self.task_vectors(task_B.to(joints_BOJ.device))
            parts.append(vector_BX[:, None].expand(-1, joints_BOJ.shape[1], -1))
        return Observation(vector=torch.cat(parts, -1), tokens=tokens, task=task_B)

    def loss(
        self,
        obs: Observation,
        actions_BSA: Tensor,
        mask_BS: Tensor,
        batch: SharedBatch | None = None,
    ) -> Tensor:
        """Return the head's loss on actions in physical units.

        If the rows are those of one of several processes, ``batch`` describes the rows of all, and
        the result is this process's share of the loss.
        """
        actions_BSA = self.normalised(actions_BSA, obs.task)
        args = (obs.vector, actions_BSA, mask_BS, *obs.token_args)
        if isinstance(self.head, TaskHeads):
            assert obs.task is not None
            if batch is not None:
                return self.head.shared_loss(batch, obs.task, *args)
            return self.head.loss(obs.task, *args)
        loss = as_policy_module(self.head).loss(*args)
        return loss if batch is None else loss * batch.fraction()

    @torch.no_grad()
    def plans(
        self,
        obs: Observation,
        generators: Sequence[torch.Generator],
        count: int = 1,
        start_BSA: Tensor | None = None,
        level: float = 1.0,
        fixed_BDA: Tensor | None = None,
    ) -> Plans:
        """Return ``count`` plans per row; row i takes its noise from ``generators[i]`` only.

        Actions are in physical units, ``clipped_by`` in half ranges of the actions. A head with
        ``Capability.MULTI_PLAN`` encodes the observations once for all plans; otherwise each plan
        is a call of its own. With a start, plans in physical units, sampling starts there with a
        share ``level`` of the noise; only a head with that capability takes one. ``fixed_BDA`` are
        the first actions of the plans in physical units, for a head with ``Capability.INPAINTING``.
        """
        start = None if start_BSA is None else self.normalised(start_BSA, obs.task)
        fixed = None if fixed_BDA is None else self.normalised(fixed_BDA, obs.task)

        def sample(head: PolicyModule, own: Sequence[torch.Generator]) -> Plans:
            if fixed is not None:
                return cast(Inpainting, head).inpaint(
                    obs.vector,
                    own,
                    obs.tokens,
                    fixed_BKA=fixed,
                    count=count,
                    start_BSA=start,
                    level=level,
                )
            if start is None and (count == 1 or Capability.MULTI_PLAN not in self.capabilities):
                one_by_one = [head.plan(obs.vector, own, *obs.token_args) for _ in range(count)]
                return _stacked(one_by_one)
            return cast(MultiPlan, head).plans(
                obs.vector, own, obs.tokens, count=count, start_BSA=start, level=level
            )

        if isinstance(self.head, TaskHeads):
            assert obs.task is not None
            plans = self.head.plans(obs.task, generators, sample)
        else:
            plans = sample(as_policy_module(self.head), generators)
        return attrs.evolve(plans, actions=self.physical(plans.actions, obs.task))


def _stacked(plans: Sequence[Plans]) -> Plans:
    """Return the plans of several calls in one record."""
    clipped_by = [part.clipped_by for part in plans if part.clipped_by is not None]
    return Plans(
        actions=torch.cat([part.actions for part in plans], 1),
        clipped_by=torch.cat(clipped_by, 1) if clipped_by else None,
    )


def action_range(actions_NA: Tensor, normalise: str) -> tuple[Tensor, Tensor]:
    """Return the actions (A,) and (A,) that normalisation maps to -1 and 1.

    ``limits``: minimum and maximum; ``quantiles``: 1st and 99th percentile; ``mean_std``: mean - 3
    and + 3 standard deviations.
    """
    if normalise == "quantiles":
        ends = torch.tensor([0.01, 0.99], dtype=torch.float64, device=actions_NA.device)
        low, high = torch.quantile(actions_NA.double(), ends, dim=0).float()
        return low, high
    if normalise == "mean_std":
        spread = 3 * actions_NA.std(0, correction=0)
        return actions_NA.mean(0) - spread, actions_NA.mean(0) + spread
    return actions_NA.min(0).values, actions_NA.max(0).values


def _noisy(values: Tensor, noise: float) -> Tensor:
    return values + noise * torch.randn_like(values) if noise else values
