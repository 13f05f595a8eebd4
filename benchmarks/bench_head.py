"""Time the policy head against the bare loops it replaces, side by side in one run.

``plan``: against the same network driven by diffusers' own scheduler, with the observations and
the diffusion step encoded anew at every step, as peers do. ``UNet``: besides, with torch's own
convolutions. ``train``: a step of loss, backward and AdamW against the same with the loss written
out in place. CPU time of one thread, the median of rounds that take turns; ratios above 1 mean
that the head is faster.

    python benchmarks/bench_head.py [--full]     # --full adds the UNet of 99.7 M parameters

Shapes: B = batch, O = n_obs_steps, D = observation width, S = horizon, A = action dims
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rgb2act_core.builtin import denoisers
from rgb2act_core.builtin.diffusion import DiffusionPolicy, acting
from rgb2act_core.builtin.diffusion_config import Diffusion, DiffusionHead, Unet
from rgb2act_core.records import HeadShape

TABLE = HeadShape(obs_dim=64 + 14, n_obs_steps=2, action_dim=14, horizon=16)
LARGE = HeadShape(obs_dim=1280, n_obs_steps=2, action_dim=14, horizon=16)


def seeds(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(rows)]


@torch.no_grad()
def plain_plan(policy: DiffusionPolicy, scheduler: object, obs_BOD: Tensor) -> Tensor:
    size = (1, policy.shape.horizon, policy.shape.action_dim)
    x_BSA = torch.cat([torch.randn(size, generator=g) for g in seeds(len(obs_BOD))])
    for t in scheduler.timesteps:
        times_B = t.expand(len(obs_BOD))
        out_BSA = policy.net(x_BSA, policy.net.clock(times_B), policy.net.context(obs_BOD))
        x_BSA = scheduler.step(out_BSA, t, x_BSA).prev_sample
    return x_BSA


def plain_loss(policy: DiffusionPolicy, obs_BOD: Tensor, actions_BSA: Tensor) -> Tensor:
    noise_BSA = torch.randn_like(actions_BSA)
    times_B = torch.randint(100, (len(actions_BSA),))
    share_B11 = policy.noising.alphas_cumprod[times_B][:, None, None]
    noisy_BSA = share_B11.sqrt() * actions_BSA + (1 - share_B11).sqrt() * noise_BSA
    out_BSA = policy.net(noisy_BSA, policy.net.clock(times_B), policy.net.context(obs_BOD))
    return (out_BSA - actions_BSA).square().mean()


def with_torch_convolutions(job: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        ours, denoisers._convolve = denoisers._convolve, lambda conv, x_BCL: conv(x_BCL)
        try:
            job()
        finally:
            denoisers._convolve = ours

    return run


def medians(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return CPU milliseconds of each job; they take turns, so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds + 1):
        for job, kept in zip(jobs, times, strict=True):
            start = time.process_time()
            job()
            if turn:  # the first round warms up
                kept.append(1e3 * (time.process_time() - start))
    return [statistics.median(kept) for kept in times]


def report(name: str, labels: tuple[str, ...], times: list[float]) -> None:
    ratios = ", ".join(
        f"{label} {time:.2f} ms ({time / times[0]:.2f}x)"
        for label, time in zip(labels, times[1:], strict=True)
    )
    print(f"{name:34} {times[0]:9.2f} ms   {ratios}", flush=True)


def bench(name: str, config: Diffusion, shape: HeadShape, batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    policy = DiffusionHead(config).module(shape)
    assert isinstance(policy, DiffusionPolicy)
    scheduler, unet = acting(config), config.denoiser == "unet"
    for rows in (1, 10):
        obs_BOD = torch.randn(rows, shape.n_obs_steps, shape.obs_dim)
        jobs = [
            lambda o=obs_BOD: policy.plan(o, seeds(len(o))),
            lambda o=obs_BOD: plain_plan(policy, scheduler, o),
        ]
        difference = (jobs[0]() - jobs[1]()).abs().max()
        assert difference < 1e-4, difference
        labels: tuple[str, ...] = ("plain loop",)
        if unet:
            jobs.append(with_torch_convolutions(jobs[1]))
            labels += ("and torch's convolutions",)
        report(f"{name} plan, batch {rows}", labels, medians(jobs, rounds))
    train(name, policy, batch, rounds)


def train(name: str, policy: DiffusionPolicy, batch: int, rounds: int) -> None:
    shape = policy.shape
    obs_BOD = torch.randn(batch, shape.n_obs_steps, shape.obs_dim)
    actions_BSA = torch.rand(batch, shape.horizon, shape.action_dim) * 2 - 1
    mask_BS = torch.ones(batch, shape.horizon, dtype=torch.bool)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=0.0, fused=True)

    def step(loss: Callable[[], Tensor]) -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    def ours() -> None:
        step(lambda: policy.loss(obs_BOD, actions_BSA, mask_BS))

    def plain() -> None:
        step(lambda: plain_loss(policy, obs_BOD, actions_BSA))

    jobs: list[Callable[[], object]] = [ours, plain]
    labels: tuple[str, ...] = ("plain loss",)
    if isinstance(policy.net, denoisers.UnetDenoiser):
        jobs.append(with_torch_convolutions(plain))
        labels += ("and torch's convolutions",)
    report(f"{name} training step, batch {batch}", labels, medians(jobs, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description="time the diffusion policy head")
    parser.add_argument("--full", action="store_true", help="add the UNet at the paper's size")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    small = Unet(down_dims=(64, 128))
    bench("mlp", Diffusion(), TABLE, 128, options.rounds)
    bench("transformer", Diffusion(denoiser="transformer"), TABLE, 32, options.rounds // 3)
    bench("unet 64/128", Diffusion(denoiser="unet", unet=small), TABLE, 32, options.rounds // 3)
    if options.full:
        bench("unet 256/512/1024", Diffusion(denoiser="unet"), LARGE, 16, 3)


if __name__ == "__main__":
    main()
