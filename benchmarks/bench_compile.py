"""Time what torch.compile would gain the policy heads, and how long it takes to do so, in one run.

A plan (DDIM of 16 steps, one observation) and a training step (loss and backward) with the network
as it is and compiled by torch's default backend, which needs a C++ compiler. The first call is told
in wall seconds: with an empty cache, and again with what that left in it, as at the next start of a
process. CPU time of one thread; jobs take turns; ratios are of times: below 1 compiled is faster.

    python benchmarks/bench_compile.py           # the UNet of 99.7 M parameters besides; minutes
    python benchmarks/bench_compile.py --quick   # the MLP and the transformer alone

Shapes: O = n_obs_steps, D = observation width, S = horizon, A = action dims
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable

import attrs
import torch
from side_by_side import compare, timed
from torch import Tensor

from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead
from rgb2act_core.interfaces import HeadShape


@attrs.frozen(kw_only=True)
class Case:
    name: str
    config: Diffusion
    obs_dim: int
    horizon: int
    batch: int


CASES = (
    Case(name="MLP", config=Diffusion(), obs_dim=78, horizon=16, batch=128),
    Case(
        name="transformer",
        config=Diffusion(denoiser="transformer"),
        obs_dim=78,
        horizon=16,
        batch=128,
    ),
    *(
        Case(
            name=f"UNet, horizon {horizon}",
            config=Diffusion(denoiser="unet"),
            obs_dim=1280,
            horizon=horizon,
            batch=64,
        )
        for horizon in (8, 16)
    ),
)


def policy_of(case: Case) -> DiffusionPolicy:
    torch.manual_seed(0)
    shape = HeadShape(obs_dim=case.obs_dim, n_obs_steps=2, action_dim=14, horizon=case.horizon)
    policy = DiffusionHead(attrs.evolve(case.config, sample_steps=16)).module(shape).eval()
    assert isinstance(policy, DiffusionPolicy)
    return policy


def plan_job(case: Case, compiled: bool) -> Callable[[], Tensor]:
    policy, obs_BOD = policy_of(case), torch.ones(1, 2, case.obs_dim)

    def job() -> Tensor:
        return policy.plan(obs_BOD, [torch.Generator().manual_seed(0)]).actions[:, 0]

    if compiled:
        policy.compile_plans()
    return job


def training_job(case: Case, compiled: bool) -> Callable[[], Tensor]:
    policy = policy_of(case).train()
    if compiled:
        policy.net.forward = torch.compile(policy.net.forward)
    obs_BOD = torch.randn(case.batch, 2, case.obs_dim)
    actions_BSA = torch.rand(case.batch, case.horizon, 14) * 2 - 1
    mask_BS = torch.ones(case.batch, case.horizon, dtype=torch.bool)

    def job() -> Tensor:
        policy.zero_grad()
        torch.manual_seed(1)
        loss = policy.loss(obs_BOD, actions_BSA, mask_BS)
        loss.backward()
        return loss.detach()[None]

    return job


def first_call(make: Callable[[Case, bool], Callable[[], Tensor]], case: Case) -> float:
    """Return the wall seconds until a compiled job was done once."""
    torch.compiler.reset()
    start = time.perf_counter()
    make(case, True)()
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> None:
    for what, make in (("plan", plan_job), ("training step", training_job)):
        with tempfile.TemporaryDirectory() as cache:
            os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "RGB2ACT_QUIET": "1"}
            empty, filled = first_call(make, case), first_call(make, case)
            plain, quick = make(case, False), make(case, True)
            torch.testing.assert_close(quick(), plain(), rtol=1e-3, atol=1e-4)
            title = f"{case.name}, {what}: compiling {empty:.0f} s, again {filled:.0f} s"
            compare(title, "ms", {"as it is": timed(plain), "compiled": timed(quick)}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description="time torch.compile on the policy heads")
    parser.add_argument("--quick", action="store_true", help="without the large UNet")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES[:2] if options.quick else CASES:
        measure(case, options.rounds)


if __name__ == "__main__":
    main()
