"""Measure the speedup of policy heads from torch.compile and the time it takes to compile.

A plan (16 DDIM steps, one observation) and a training step (loss and backward) are timed with the
uncompiled network and with the network compiled by torch's default backend, which needs a C++
compiler. The first compiled call is reported in wall seconds, with an empty compiler cache and with
a filled one, as in a restarted process. The other times are CPU time of one thread, the median of
alternating rounds; a ratio below 1 means that the compiled network is faster.

    python benchmarks/bench_compile.py           # including the UNet of 99.7 M parameters; minutes
    python benchmarks/bench_compile.py --quick   # only the MLP and the transformer

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
from shared import compare, timed
from torch import Tensor

from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead
from rgb2act_core.interfaces import HeadShape


@attrs.frozen(kw_only=True)
class Case:
    """One network and its input sizes."""

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
    """Return the wall time in seconds of compiling a job and running it once."""
    torch.compiler.reset()
    start = time.perf_counter()
    make(case, True)()
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> None:
    for job, make in (("plan", plan_job), ("training step", training_job)):
        with tempfile.TemporaryDirectory() as cache:
            os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "RGB2ACT_QUIET": "1"}
            empty, filled = first_call(make, case), first_call(make, case)
            plain, compiled = make(case, False), make(case, True)
            torch.testing.assert_close(compiled(), plain(), rtol=1e-3, atol=1e-4)
            title = f"{case.name}, {job}: compilation {empty:.0f} s, cached {filled:.0f} s"
            compare(title, "ms", {"uncompiled": timed(plain), "compiled": timed(compiled)}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="skip the large UNet")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES[:2] if options.quick else CASES:
        measure(case, options.rounds)


if __name__ == "__main__":
    main()
