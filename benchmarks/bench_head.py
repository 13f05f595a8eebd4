"""Compare the policy heads with plain implementations of the same networks.

UNet plans are compared with ``plain_unet``, which has the same weights and is driven by the
scheduler of diffusers from the same noise. A UNet training step (loss, backward, AdamW, averaged
weights) is compared with torch's defaults. Plans in bfloat16 and int8 are also timed, and their RMS
distance from float32 plans is reported, with random weights and, at the end, for a trained MLP. The
MLP and the transformer are compared with the same network when it encodes the observations and the
diffusion step again at every denoising step. All float32 plans must agree within 1e-5.

Times are CPU time of one thread, the median of alternating rounds. A ratio above 1 means that the
head is faster.

    python benchmarks/bench_head.py           # the UNet of 99.7 M parameters; ten minutes
    python benchmarks/bench_head.py --quick   # the same on small networks; seconds

Shapes: B = batch, O = n_obs_steps, D = observation width, S = horizon, A = action dims
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import attrs
import torch
from official_unet import read_official
from plain_unet import PlainUnet
from torch import Tensor, nn

from rgb2act_core.builtin.heads.denoiser_config import Mlp, Transformer, Unet
from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy, acting
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead, FlowHead
from rgb2act_core.builtin.heads.flow_config import Flow
from rgb2act_core.interfaces import HeadShape

SAMPLERS = {
    "DDPM 100": {"sampler": "ddpm", "sample_steps": 100},
    "DDIM 16": {"sampler": "ddim", "sample_steps": 16},
    "DDIM 10": {"sampler": "ddim", "sample_steps": 10},
}
DECAY = 0.995
Job = Callable[[], object]


@attrs.frozen(kw_only=True)
class Size:
    """Sizes of the networks and of a training batch."""

    unet: Unet
    mlp: Mlp
    transformer: Transformer
    obs_dim: int
    batch: int


FULL = Size(unet=Unet(), mlp=Mlp(), transformer=Transformer(), obs_dim=1280, batch=64)
QUICK = Size(
    unet=Unet(down_dims=(32, 64)),
    mlp=Mlp(width=64),
    transformer=Transformer(width=32, layers=2),
    obs_dim=16,
    batch=8,
)


def seeds(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(rows)]


def medians(jobs: list[Job], rounds: int) -> list[float]:
    """Return the median CPU time of each job in milliseconds, over alternating rounds."""
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds + 1):
        for job, costs in zip(jobs, times, strict=True):
            start = time.process_time()
            job()
            if turn:  # the first round is a warm-up
                costs.append(1e3 * (time.process_time() - start))
    return [statistics.median(costs) for costs in times]


def report(name: str, labels: list[str], times: list[float]) -> None:
    parts = [f"{label} {t:.1f} ms" for label, t in zip(labels, times, strict=True)]
    ratios = [f"{times[-1] / t:.2f} x" for t in times[:-1]]
    print(f"{name:30} {', '.join(parts)}: {', '.join(ratios)}", flush=True)


def unet_plans(size: Size, horizon: int, rounds: int) -> None:
    shape = HeadShape(obs_dim=size.obs_dim, n_obs_steps=2, action_dim=14, horizon=horizon)
    torch.manual_seed(0)
    plain = PlainUnet(14, 2 * size.obs_dim, down_dims=size.unet.down_dims).eval()
    obs_BOD = torch.randn(1, 2, size.obs_dim)
    for name, options in SAMPLERS.items():
        config = Diffusion(denoiser="unet", unet=size.unet, prediction="epsilon", **options)
        rounded = () if name == "DDPM 100" else ("bfloat16", "int8")
        policies = [policy_like(plain, config, shape)]
        policies += [policy_like(plain, attrs.evolve(config, precision=p), shape) for p in rounded]
        scheduler = acting(config)
        ours = [lambda p=p: p.plan(obs_BOD, seeds(1)).actions[:, 0] for p in policies]

        def theirs(scheduler: object = scheduler) -> Tensor:
            return plain_plan(plain, scheduler, obs_BOD, horizon)

        *plans, expected = [job() for job in (*ours, theirs)]
        difference = float((plans[0] - expected).abs().max())
        assert difference < 1e-5, difference
        n_rounds = max(rounds // 4, 1) if name == "DDPM 100" else rounds
        labels = ["float32", *rounded, "plain"]
        report(f"UNet S={horizon} {name} plan", labels, medians([*ours, theirs], n_rounds))
        distances = [float((p - expected).square().mean().sqrt()) for p in plans[1:]]
        distance = [f"{p} {d:.4f} rms" for p, d in zip(rounded, distances, strict=True)]
        print(f"{'':30} largest difference {difference:.1e}", *distance, sep=", ", flush=True)


def policy_like(plain: PlainUnet, config: Diffusion, shape: HeadShape) -> DiffusionPolicy:
    policy = DiffusionHead(config).module(shape).eval()
    assert isinstance(policy, DiffusionPolicy)
    read_official(policy.net, plain.state_dict())
    return policy


@torch.no_grad()
def plain_plan(plain: nn.Module, scheduler: object, obs_BOD: Tensor, horizon: int) -> Tensor:
    (generator,) = seeds(1)
    x_BSA = torch.randn(1, horizon, 14, generator=generator)
    for t in scheduler.timesteps:
        options = {"generator": generator} if "DDPM" in type(scheduler).__name__ else {}
        x_BSA = scheduler.step(plain(x_BSA, t, obs_BOD), t, x_BSA, **options).prev_sample
    return x_BSA


def unet_training(size: Size, horizon: int, rounds: int) -> None:
    shape = HeadShape(obs_dim=size.obs_dim, n_obs_steps=2, action_dim=14, horizon=horizon)
    torch.manual_seed(0)
    config = Diffusion(denoiser="unet", unet=size.unet, prediction="epsilon")
    policy = DiffusionHead(config).module(shape)
    plain = PlainUnet(14, 2 * size.obs_dim, down_dims=size.unet.down_dims)
    read_official(policy.net, plain.state_dict())
    obs_BOD = torch.randn(size.batch, 2, size.obs_dim)
    actions_BSA = torch.rand(size.batch, horizon, 14) * 2 - 1
    mask_BS = torch.ones(size.batch, horizon, dtype=torch.bool)

    def plain_loss() -> Tensor:
        noise_BSA = torch.randn_like(actions_BSA)
        times_B = torch.randint(100, (size.batch,))
        noisy_BSA = policy.noising.add_noise(actions_BSA, noise_BSA, times_B)
        return (plain(noisy_BSA, times_B, obs_BOD) - noise_BSA).square().mean()

    def our_loss() -> Tensor:
        return policy.loss(obs_BOD, actions_BSA, mask_BS)

    losses = []
    for loss in (our_loss, plain_loss):
        torch.manual_seed(1)
        losses.append(float(loss().detach()))
    assert abs(losses[0] - losses[1]) < 1e-5, losses
    ours, theirs = ours_step(policy, our_loss), plain_step(plain, plain_loss)
    times = medians([ours, theirs], rounds)
    report(f"UNet S={horizon} training, batch {size.batch}", ["ours", "plain"], times)


def ours_step(policy: nn.Module, loss: Callable[[], Tensor]) -> Job:
    """Return a training step as in ``train_loop``."""
    weights, averaged = list(policy.parameters()), list(copy.deepcopy(policy).parameters())
    optimizer = torch.optim.AdamW(weights, 1e-5, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - DECAY)

    return run


def plain_step(plain: nn.Module, loss: Callable[[], Tensor]) -> Job:
    """Return a training step with torch's defaults that averages weights one by one."""
    averaged = copy.deepcopy(plain)
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-5)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(averaged.parameters(), plain.parameters(), strict=True):
                old.mul_(DECAY).add_(new, alpha=1 - DECAY)

    return run


def mlp_and_transformer(size: Size, rounds: int) -> None:
    shape = HeadShape(obs_dim=78, n_obs_steps=2, action_dim=14, horizon=16)
    shape_with_tokens = attrs.evolve(shape, tokens=(64, 32))
    obs_BOD, tokens_BONC = torch.randn(1, 2, 78), torch.randn(1, 2, 64, 32)
    for name, config, tokens in (
        ("MLP", Diffusion(mlp=size.mlp), ()),
        ("transformer", Diffusion(denoiser="transformer", transformer=size.transformer), ()),
        (
            "transformer, 128 tokens",
            Diffusion(denoiser="transformer", transformer=size.transformer),
            (tokens_BONC,),
        ),
    ):
        torch.manual_seed(0)
        policy = DiffusionHead(config).module(shape_with_tokens if tokens else shape).eval()
        scheduler = acting(config)

        @torch.no_grad()
        def plain(policy=policy, scheduler=scheduler, tokens=tokens) -> Tensor:
            x_BSA = torch.stack([torch.randn(16, 14, generator=g) for g in seeds(1)])
            for t in scheduler.timesteps:
                context = policy.net.context(obs_BOD, *tokens)
                out_BSA = policy.net(x_BSA, policy.net.clock(t[None]), context)
                x_BSA = scheduler.step(out_BSA, t, x_BSA).prev_sample
            return x_BSA

        def ours(policy=policy, tokens=tokens) -> Tensor:
            return policy.plan(obs_BOD, seeds(1), *tokens).actions[:, 0]

        difference = float((ours() - plain()).abs().max())
        assert difference < 1e-5, difference
        report(f"{name} DDIM 10 plan", ["ours", "plain"], medians([ours, plain], 3 * rounds))


def several_plans(size: Size, rounds: int) -> None:
    """Compare one call for 8 plans with 8 calls for one plan each."""
    shape = HeadShape(obs_dim=size.obs_dim, n_obs_steps=2, action_dim=14, horizon=8)
    torch.manual_seed(0)
    config = Flow(denoiser="unet", unet=size.unet, sample_steps=4)
    policy = FlowHead(config).module(shape).eval()
    obs_BOD = torch.randn(1, 2, size.obs_dim)

    def one_call() -> Tensor:
        return policy.plans(obs_BOD, seeds(1), count=8).actions

    def eight_calls() -> list[Tensor]:
        return [policy.plan(obs_BOD, seeds(1)).actions[:, 0] for _ in range(8)]

    report(
        "flow, UNet S=8, 4 steps, 8 plans",
        ["one call", "8 calls"],
        medians([one_call, eight_calls], rounds),
    )


def trained_mlp(size: Size, steps: int) -> None:
    """Print the RMS distance of bfloat16 and int8 plans from float32 plans of a trained MLP."""
    shape = HeadShape(obs_dim=78, n_obs_steps=2, action_dim=14, horizon=16)
    torch.manual_seed(0)
    policy = DiffusionHead(Diffusion(mlp=size.mlp)).module(shape)
    mixing = torch.randn(2 * 78, 2 * 14) / 78**0.5
    ramp_S1 = torch.linspace(0, 1, 16)[:, None]

    def demonstrated(obs_BOD: Tensor) -> Tensor:
        ends = torch.tanh(obs_BOD.flatten(1) @ mixing)[:, None].chunk(2, dim=-1)
        return torch.lerp(*ends, ramp_S1)

    optimizer = torch.optim.AdamW(policy.parameters(), 1e-3, fused=True)
    mask_BS = torch.ones(128, 16, dtype=torch.bool)
    for _ in range(steps):
        obs_BOD = torch.randn(128, 2, 78)
        optimizer.zero_grad()
        policy.loss(obs_BOD, demonstrated(obs_BOD), mask_BS).backward()
        optimizer.step()
    obs_BOD = torch.randn(64, 2, 78)
    plans = {}
    for precision in ("float32", "bfloat16", "int8"):
        rounded = DiffusionHead(Diffusion(mlp=size.mlp, precision=precision)).module(shape)
        rounded.load_state_dict(policy.state_dict())
        plans[precision] = rounded.plan(obs_BOD, seeds(64)).actions[:, 0]
    exact, actions = plans.pop("float32"), demonstrated(obs_BOD)
    distances = [f"{p} {(x - exact).square().mean().sqrt():.4f}" for p, x in plans.items()]
    error = (exact - actions).square().mean().sqrt()
    print(f"trained MLP, rms distance from float32 plans: {', '.join(distances)};", end=" ")
    print(
        f"float32 plans from the actions: {error:.3f}; std of the actions: {actions.std():.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use small networks")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds")
    parser.add_argument("--horizons", type=int, nargs="+", default=[8, 16])
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, rounds = (QUICK if options.quick else FULL), options.rounds
    for horizon in options.horizons:
        unet_plans(size, horizon, rounds)
        unet_training(size, horizon, rounds)
    mlp_and_transformer(size, rounds)
    several_plans(size, rounds)
    trained_mlp(size, 50 if options.quick else 1000)


if __name__ == "__main__":
    main()
