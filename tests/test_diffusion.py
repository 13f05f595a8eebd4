import copy
import subprocess
import sys
import warnings

import pytest
import torch

from rgb2act_core.builtin import rgb2act_policy_heads
from rgb2act_core.builtin.denoisers import make
from rgb2act_core.builtin.diffusion import DiffusionPolicy, acting
from rgb2act_core.builtin.diffusion_config import Diffusion, Mlp, Transformer, Unet
from rgb2act_core.records import HeadShape

SHAPE = HeadShape(obs_dim=6, n_obs_steps=2, action_dim=3, horizon=8)
SMALL = {
    "mlp": {"mlp": Mlp(width=16, blocks=2)},
    "unet": {"unet": Unet(down_dims=(8, 16, 16), groups=4)},
    "transformer": {"transformer": Transformer(width=16, layers=1, heads=2)},
}
DENOISERS = tuple(SMALL)


def small(denoiser="mlp", seed=0, **config):
    torch.manual_seed(seed)
    return DiffusionPolicy(Diffusion(denoiser=denoiser, **SMALL[denoiser], **config), SHAPE)


def observations(rows=4, seed=0):
    return torch.randn(rows, 2, 6, generator=torch.Generator().manual_seed(seed))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    actions = torch.rand(5, 8, 3, generator=g) * 2 - 1
    return observations(5), actions, torch.ones(5, 8, dtype=torch.bool)


def reference_plan(policy, config, obs, seeds):
    """Draw plans with diffusers' own loop; DPM-Solver++ there does not clip, so we do."""
    scheduler, rows = acting(config), generators(*seeds)
    x = torch.cat([torch.randn(1, 8, 3, generator=g) for g in rows])
    context = policy.net.context(obs)
    for t in scheduler.timesteps:
        out = policy.net(x, policy.net.clock(t[None]), context)
        extra = {"generator": rows} if config.sampler == "ddpm" else {}
        x = scheduler.step(out, t, x, **extra).prev_sample
    return x


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear"])
@torch.no_grad()
def test_plans_equal_those_of_diffusers_loop(sampler, prediction, schedule):
    config = Diffusion(
        **SMALL["mlp"],
        sampler=sampler,
        prediction=prediction,
        schedule=schedule,
        clip_sample=sampler != "dpm++",
        sample_steps=12,
    )
    torch.manual_seed(0)
    policy = DiffusionPolicy(config, SHAPE)
    with warnings.catch_warnings():
        plans = policy.plan(observations(), generators(1, 2, 3, 4))
    expected = reference_plan(policy, config, observations(), (1, 2, 3, 4))
    # without clipping an untrained net's noise is divided by a small alpha: plans of size 10 to 100
    torch.testing.assert_close(plans, expected, atol=1e-5, rtol=1e-5)
