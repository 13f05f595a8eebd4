"""The policy head ``flow``: plans lie at the end of straight ways from noise (arXiv 2210.02747).

A way is x_t = (1 - t) noise + t plan (eq. 22 without a smallest sigma, as in rectified flow,
arXiv 2209.03003); the network learns its velocity, plan - noise, and sampling follows it from
t = 0 to 1.

Shapes: B = batch, O = n_obs_steps, D = observation width, N and C = number and width of an
observation step's tokens, S = horizon, A = action dims, K = network evaluations, N = plans a row
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...interfaces import HeadShape
from .compiled import Compiled
from .denoisers import make
from .flow_config import Flow
from .plan_sampling import Kept, check_start, draw, repeat
from .precision import acting_copy

TICKS = 100.0  # of the embedding's clock, from noise to plan


class FlowPolicy(nn.Module):
    """Learn and sample plans in normalised space, a ``interfaces.PolicyModule`` that
    draws ``interfaces.ManyPlans``.

    Nothing is clipped: a plan may lie a little outside of what was demonstrated.
    """

    def __init__(self, config: Flow, shape: HeadShape) -> None:
        super().__init__()
        self.shape, self.solver, self.steps = shape, config.solver, config.sample_steps
        self.net = make(config.net, shape, config.step_dim)
        self.precision, self.compiled = config.precision, False
        self._acting, self._clock = Kept(), Kept()

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
        velocity_BSA = self.net(at_BSA, self.net.clock(TICKS * times_B), context)
        error_BS = (velocity_BSA - (actions_BSA - noise_BSA)).square().mean(-1)
        total: Tensor = error_BS.where(mask_BS, 0).sum()
        return total / mask_BS.sum().clamp(min=1)

    def plan(
        self,
        obs_BOD: Tensor,
        generators: Sequence[torch.Generator],
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return plans (B, S, A); row i draws on the CPU from ``generators[i]`` alone.

        A row's bits do not depend on the other rows; they may on how many there are.
        """
        return self.plans(obs_BOD, generators, tokens_BONC)[:, 0]

    @torch.no_grad()
    def plans(
        self,
        obs_BOD: Tensor,
        generators: Sequence[torch.Generator],
        tokens_BONC: Tensor | None = None,
        *,
        count: int = 1,
        start_BSA: Tensor | None = None,
        level: float = 1.0,
    ) -> Tensor:
        """Return ``count`` plans a row, (B, N, S, A), as ``interfaces.ManyPlans`` says.

        From a start, the way begins at t = 1 - level, in steps at most as long as otherwise.
        """
        check_start(start_BSA, level, self.shape, len(obs_BOD))
        weights = list(self.net.parameters())
        net = self._acting.get(weights, self._planner)
        steps = math.ceil(level * self.steps)
        if level == 1:
            clock = self._clock.get(weights, lambda: self._clock_of(steps, level))
        else:
            clock = self._clock_of(steps, level)
        context = repeat(net.context(obs_BOD, tokens_BONC), count)
        x_BSA = draw(self.shape, obs_BOD, generators, count)
        if start_BSA is not None:
            x_BSA = torch.lerp(repeat(start_BSA, count), x_BSA, level)
        for k in range(steps):
            x_BSA = self._step(net, x_BSA, clock, k, level / steps, context)
        plans_BNSA: Tensor = x_BSA.unflatten(0, (len(obs_BOD), count))
        return plans_BNSA

    def _step(
        self, net: nn.Module, x_BSA: Tensor, clock: Tensor, k: int, size: float, context: Tensor
    ) -> Tensor:
        if self.solver == "euler":
            return torch.add(x_BSA, net(x_BSA, clock[k : k + 1], context), alpha=size)
        velocity_BSA = net(x_BSA, clock[2 * k : 2 * k + 1], context)
        middle_BSA = torch.add(x_BSA, velocity_BSA, alpha=size / 2)
        velocity_BSA = net(middle_BSA, clock[2 * k + 1 : 2 * k + 2], context)
        return torch.add(x_BSA, velocity_BSA, alpha=size)

    def compile_plans(self) -> None:
        """Compile the network that plans at the next plan."""
        self.compiled = True

    def _planner(self) -> Any:
        net = acting_copy(self.net, self.precision)
        return Compiled(net) if self.compiled else net

    def _clock_of(self, steps: int, level: float) -> Tensor:
        """Return what the network is told of each evaluation's time."""
        count = steps * (1 if self.solver == "euler" else 2)
        device = next(self.net.parameters()).device
        times_K = 1 - level + level * torch.arange(count, device=device) / count
        clock: Tensor = self.net.clock(TICKS * times_K)
        return clock
