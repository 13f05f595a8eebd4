"""The module of the policy head ``diffusion`` (Diffusion Policy, arXiv 2303.04137).

Noise schedules and time steps come from diffusers. A sampling step is linear in the noisy plan,
the network's output and the clean plans, so its coefficients are computed once, from the formulas
of DDIM (arXiv 2010.02502), DDPM (2006.11239) and DPM-Solver++ (2211.01095). The resulting plans
equal those of diffusers' own loop.

Shapes: B = batch, O = n_obs_steps, D = observation width, N and C = number and width of an
observation step's tokens, S = horizon, A = action dims, K = sampling steps, or fixed steps of a
plan, P = plans for each row
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
)
from torch import Tensor

from ...interfaces import HeadShape
from .denoising_policy import DenoisingPolicy, Evaluate, Sampled, masked_mean
from .diffusion_config import Diffusion
from .plan_sampling import hold_first


@attrs.frozen(kw_only=True)
class Step:
    """The coefficients of one sampling step.

    The clean plan is clean_x * x + clean_out * out, clipped. The next x is the sum of x, the
    network's output, the clean plan, the previous step's clean plan and new noise, each times the
    coefficient of that name.
    """

    clean_x: float
    clean_out: float
    x: float = 0.0
    out: float = 0.0
    clean: float
    before: float = 0.0
    noise: float = 0.0


def schedule(config: Diffusion, kind: Any, **options: Any) -> Any:
    """Return a diffusers scheduler of this class with the config's noise levels, on the CPU."""
    with torch.device("cpu"):  # independent of the default device
        return kind(
            num_train_timesteps=config.train_steps,
            beta_schedule=config.schedule,
            beta_start=0.1 / config.train_steps,  # for 'linear' only: 1e-4 .. 0.02 at 1,000 steps
            beta_end=min(0.999, 20 / config.train_steps),
            prediction_type=config.prediction,
            **options,
        )


def acting(config: Diffusion) -> Any:
    """Return the equivalent diffusers scheduler, with its time steps set."""
    clip = {"clip_sample": config.clip_sample, "clip_sample_range": config.clip_range}
    if config.sampler == "ddim":
        scheduler = schedule(config, DDIMScheduler, **clip)
    elif config.sampler == "ddpm":
        scheduler = schedule(config, DDPMScheduler, **clip)
    else:  # the limit skips levels of almost pure noise, where the solver is unstable
        scheduler = schedule(config, DPMSolverMultistepScheduler, lambda_min_clipped=-5.1)
    with warnings.catch_warnings(), torch.device("cpu"):
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy 2 on np.array(tensor)
        scheduler.set_timesteps(config.sample_steps)
    return scheduler


def sampling(config: Diffusion) -> tuple[list[int], list[Step]]:
    """Return the K time steps of sampling and their coefficients."""
    scheduler = acting(config)
    times = [int(t) for t in scheduler.timesteps]
    shares = [float(scheduler.alphas_cumprod[t]) for t in times] + [1.0]
    # (alpha, sigma): x = alpha clean + sigma noise; after the last step there is no noise
    levels = [(math.sqrt(share), math.sqrt(1 - share)) for share in shares]
    step = {"ddim": _ddim, "ddpm": _ddpm, "dpm++": _dpm}[config.sampler]
    steps = [step(config, levels, k) for k in range(len(times))]
    return times, steps


def _clean(config: Diffusion, alpha: float, sigma: float) -> tuple[float, float]:
    if config.prediction == "epsilon":
        return 1 / alpha, -sigma / alpha
    return (0.0, 1.0) if config.prediction == "sample" else (alpha, -sigma)


def _epsilon(config: Diffusion, alpha: float, sigma: float) -> tuple[float, float]:
    if config.prediction == "epsilon":
        return 0.0, 1.0
    return (1 / sigma, -alpha / sigma) if config.prediction == "sample" else (sigma, alpha)


Levels = list[tuple[float, float]]


def _ddim(config: Diffusion, levels: Levels, k: int) -> Step:
    (alpha, sigma), (alpha_next, sigma_next) = levels[k : k + 2]
    clean_x, clean_out = _clean(config, alpha, sigma)
    noise_x, noise_out = _epsilon(config, alpha, sigma)  # noise implied by the unclipped plan
    return Step(  # eq. 12 with eta = 0
        clean_x=clean_x,
        clean_out=clean_out,
        x=sigma_next * noise_x,
        out=sigma_next * noise_out,
        clean=alpha_next,
    )


def _ddpm(config: Diffusion, levels: Levels, k: int) -> Step:
    (alpha, sigma), (alpha_next, sigma_next) = levels[k : k + 2]
    clean_x, clean_out = _clean(config, alpha, sigma)
    kept = (alpha / alpha_next) ** 2
    return Step(  # eq. 7
        clean_x=clean_x,
        clean_out=clean_out,
        x=math.sqrt(kept) * sigma_next**2 / sigma**2,
        clean=alpha_next * (1 - kept) / sigma**2,
        noise=sigma_next / sigma * math.sqrt(1 - kept),
    )


def _dpm(config: Diffusion, levels: Levels, k: int) -> Step:
    (alpha, sigma), (alpha_next, sigma_next) = levels[k : k + 2]
    clean_x, clean_out = _clean(config, alpha, sigma)
    ratio = sigma_next * alpha / (alpha_next * sigma)  # e^-h
    pull = alpha_next * (1 - ratio)
    before = 0.0
    if 0 < k < len(levels) - 2:  # second order (algorithm 2), except in the first and last step
        lambdas = [math.log(a / s) for a, s in levels[k - 1 : k + 2]]
        h_before, h = (b - a for a, b in pairwise(lambdas))
        before = -0.5 * pull * h / h_before
    return Step(
        clean_x=clean_x,
        clean_out=clean_out,
        x=sigma_next / sigma,
        clean=pull - before,
        before=before,
    )


def _mix(*terms: tuple[float, Tensor]) -> Tensor:
    parts = [tensor if share == 1 else share * tensor for share, tensor in terms if share]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


class DiffusionPolicy(DenoisingPolicy):
    """A policy that learns and samples plans by denoising diffusion, in normalised space.

    Padded actions are still part of the network's input: pad by repeating the last action, not
    with numbers that no plan contains.
    """

    def __init__(self, config: Diffusion, shape: HeadShape) -> None:
        super().__init__(config, shape)
        self.prediction = config.prediction
        self.clip = config.clip_range if config.clip_sample else None
        self.noising = schedule(config, DDPMScheduler)
        self.times, self.steps = sampling(config)

    def loss(
        self,
        obs_BOD: Tensor,
        actions_BSA: Tensor,
        mask_BS: Tensor,
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error over valid steps, 0 if there are none.

        Noise and its levels come from torch's global generator.
        """
        noise_BSA = torch.randn_like(actions_BSA)
        levels = self.noising.config.num_train_timesteps
        times_B = torch.randint(levels, (len(actions_BSA),), device=actions_BSA.device)
        noisy_BSA = self.noising.add_noise(actions_BSA, noise_BSA, times_B)
        context = self.net.context(obs_BOD, tokens_BONC)
        out_BSA = self.net(noisy_BSA, self.net.clock(times_B), context)
        error_BS = (out_BSA - self._target(actions_BSA, noise_BSA, times_B)).square().mean(-1)
        return masked_mean(error_BS, mask_BS)

    def _target(self, actions_BSA: Tensor, noise_BSA: Tensor, times_B: Tensor) -> Tensor:
        if self.prediction == "v_prediction":
            velocity_BSA: Tensor = self.noising.get_velocity(actions_BSA, noise_BSA, times_B)
            return velocity_BSA
        return actions_BSA if self.prediction == "sample" else noise_BSA

    @property
    def draws(self) -> int:
        """Return the number of noise arrays (S, A) that one plan takes."""
        return 1 + sum(step.noise != 0 for step in self.steps)

    def _times(self, level: float) -> Tensor:
        """Return the times of all sampling steps, of which a start skips the first ones."""
        return torch.tensor(self.times, device=next(self.net.parameters()).device)

    def _sample(
        self,
        evaluate: Evaluate,
        draw: Callable[[], Tensor],
        start_BSA: Tensor | None,
        level: float,
        fixed_BKA: Tensor | None,
    ) -> Sampled:
        """Return a plan per row; from a start, noisier steps than ``level`` are skipped."""
        noise_BSA = x_BSA = draw()
        first = 0
        if start_BSA is not None:
            first = self._first_step(level)
            x_BSA = self._noised(start_BSA, noise_BSA, first)
        before_BSA = None
        for k, step in enumerate(self.steps[first:], first):
            if fixed_BKA is not None:
                own_noise = noise_BSA[:, : fixed_BKA.shape[1]]
                x_BSA = hold_first(x_BSA, self._noised(fixed_BKA, own_noise, k))
            out_BSA = evaluate(x_BSA, k)
            unclipped_BSA = _mix((step.clean_x, x_BSA), (step.clean_out, out_BSA))
            clean_BSA = unclipped_BSA
            if self.clip is not None:
                clean_BSA = unclipped_BSA.clamp(-self.clip, self.clip)
            clean_BSA = hold_first(clean_BSA, fixed_BKA)
            x_BSA = _mix(
                (step.x, x_BSA),
                (step.out, out_BSA),
                (step.clean, clean_BSA),  # the first step has no clean plan before it: its own
                (step.before, clean_BSA if before_BSA is None else before_BSA),
            )
            if step.noise:
                x_BSA = x_BSA + step.noise * draw()
            before_BSA = clean_BSA
        x_BSA = hold_first(x_BSA, fixed_BKA)
        if self.clip is None:
            return Sampled(actions_BSA=x_BSA)
        # the last step ends at its clean plan
        unclipped_BSA = hold_first(unclipped_BSA, fixed_BKA)
        return Sampled(actions_BSA=x_BSA, clipped_by_BSA=(unclipped_BSA - x_BSA).abs())

    def _first_step(self, level: float) -> int:
        """Return the index of the first sampling step with at most a share ``level`` of noise."""
        most = level * self.noising.config.num_train_timesteps
        return next((k for k, t in enumerate(self.times) if t < most), len(self.times) - 1)

    def _noised(self, clean: Tensor, noise: Tensor, k: int) -> Tensor:
        """Return plans with the noise of sampling step ``k``."""
        share = float(self.noising.alphas_cumprod[self.times[k]])
        return math.sqrt(share) * clean + math.sqrt(1 - share) * noise
