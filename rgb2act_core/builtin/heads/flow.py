"""The module of the policy head ``flow`` (flow matching, arXiv 2210.02747).

A plan is reached along the straight line x_t = (1 - t) noise + t plan (eq. 22 with smallest sigma
0, as in rectified flow, arXiv 2209.03003). The network learns the velocity plan - noise, and
sampling integrates it from t = 0 to 1.

Shapes: B = batch, O = n_obs_steps, D = observation width, N and C = number and width of an
observation step's tokens, S = horizon, A = action dims, K = network evaluations, or fixed steps
of a plan, P = plans for each row
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ...interfaces import HeadShape
from .denoising_policy import DenoisingPolicy, Evaluate, Sampled, masked_mean
from .flow_config import Flow
from .plan_sampling import hold_first

TIME_SCALE = 100.0  # of the time embedding's input: t = 1 is embedded like diffusion step 100


class FlowPolicy(DenoisingPolicy):
    """A policy that learns and samples plans by flow matching, in normalised space.

    Nothing is clipped: a plan can leave the demonstrated range a little.
    """

    def __init__(self, config: Flow, shape: HeadShape) -> None:
        super().__init__(config, shape)
        self.solver, self.steps = config.solver, config.sample_steps

    def loss(
        self,
        obs_BOD: Tensor,
        actions_BSA: Tensor,
        mask_BS: Tensor,
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return the velocity's mean squared error over valid steps, 0 if there are none.

        Noise and times come from torch's global generator.
        """
        noise_BSA = torch.randn_like(actions_BSA)
        times_B = torch.rand(len(actions_BSA), device=actions_BSA.device)
        at_BSA = torch.lerp(noise_BSA, actions_BSA, times_B[:, None, None])
        context = self.net.context(obs_BOD, tokens_BONC)
        velocity_BSA = self.net(at_BSA, self.net.clock(TIME_SCALE * times_B), context)
        error_BS = (velocity_BSA - (actions_BSA - noise_BSA)).square().mean(-1)
        return masked_mean(error_BS, mask_BS)

    @property
    def draws(self) -> int:
        """Return the number of noise arrays (S, A) that one plan takes."""
        return 1

    def _sample(
        self,
        evaluate: Evaluate,
        draw: Callable[[], Tensor],
        start_BSA: Tensor | None,
        level: float,
        fixed_BKA: Tensor | None,
    ) -> Sampled:
        """Return a plan per row.

        From a start, integration begins at t = 1 - level, in steps no longer than otherwise.
        """
        steps = math.ceil(level * self.steps)
        x_BSA = noise_BSA = draw()
        if start_BSA is not None:
            x_BSA = torch.lerp(start_BSA, x_BSA, level)
        for k in range(steps):
            time = 1 - level + level * k / steps
            x_BSA = hold_first(x_BSA, _at(time, noise_BSA, fixed_BKA))
            x_BSA = self._step(evaluate, x_BSA, k, level / steps)
        return Sampled(actions_BSA=hold_first(x_BSA, fixed_BKA))

    def _step(self, evaluate: Evaluate, x_BSA: Tensor, k: int, size: float) -> Tensor:
        if self.solver == "euler":
            return torch.add(x_BSA, evaluate(x_BSA, k), alpha=size)
        middle_BSA = torch.add(x_BSA, evaluate(x_BSA, 2 * k), alpha=size / 2)
        return torch.add(x_BSA, evaluate(middle_BSA, 2 * k + 1), alpha=size)

    def _times(self, level: float) -> Tensor:
        """Return the time of each network evaluation, in diffusion steps."""
        count = math.ceil(level * self.steps) * (1 if self.solver == "euler" else 2)
        device = next(self.net.parameters()).device
        times_K = 1 - level + level * torch.arange(count, device=device) / count
        return TIME_SCALE * times_K


def _at(time: float, noise_BSA: Tensor, fixed_BKA: Tensor | None) -> Tensor | None:
    """Return where the fixed steps of a plan are at this time on their way from the noise."""
    if fixed_BKA is None:
        return None
    return torch.lerp(noise_BSA[:, : fixed_BKA.shape[1]], fixed_BKA, time)
