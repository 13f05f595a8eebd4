import copy
import re
import subprocess
import sys
from unittest import mock

import attrs
import pytest
import torch

from rgb2act_core.builtin.heads.denoiser_config import Mlp, Transformer, Unet
from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy, acting, sampling
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead
from rgb2act_core.interfaces import HeadShape

SHAPE = HeadShape(obs_dim=6, n_obs_steps=2, action_dim=3, horizon=8)
SMALL = {
    "mlp": {"mlp": Mlp(width=16, blocks=2)},
    "unet": {"unet": Unet(down_dims=(8, 16, 16), groups=4)},
    "transformer": {"transformer": Transformer(width=16, layers=1, heads=2)},
}
DENOISERS = tuple(SMALL)
# Two orders of the same sums, in float64: rounding (1e-16) grows by at most the number of terms in
# a sum (1e2), of sampling steps (1e2) and by 1 / alpha of the noisiest step (1e3).
SAME = {"atol": 1e-9, "rtol": 1e-9}


@pytest.fixture
def float64(monkeypatch):
    """Make new modules and tensors float64, the embedding of diffusion steps included."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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


def reference_scheduler(config):
    """Return diffusers' scheduler, its tables computed in float64 from its noise levels."""
    scheduler = acting(config)
    scheduler.alphas_cumprod = kept = scheduler.alphas_cumprod.double()
    if config.sampler == "dpm++":
        sigmas = ((1 - kept) / kept).sqrt()[scheduler.timesteps]
        scheduler.sigmas = torch.cat([sigmas, torch.zeros(1)])  # no noise after the last step
    return scheduler


def reference_plan(policy, config, obs, seeds):
    """Sample plans with the loop of diffusers (its DPM-Solver++ does not clip)."""
    scheduler, rows = reference_scheduler(config), generators(*seeds)
    x = torch.cat([torch.randn(1, 8, 3, generator=g) for g in rows])
    context = policy.net.context(obs)
    for t in scheduler.timesteps:
        out = policy.net(x, policy.net.clock(t[None]), context)
        extra = {"generator": rows} if config.sampler == "ddpm" else {}
        with mock.patch.object(torch, "float32", torch.float64):  # DPM-Solver++ casts to it
            x = scheduler.step(out, t, x, **extra).prev_sample
    return x


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", ["squaredcos_cap_v2", "linear"])
@pytest.mark.usefixtures("float64")
@torch.no_grad()
def test_plans_match_diffusers(sampler, prediction, schedule):
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
    plans = policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
    expected = reference_plan(policy, config, observations(), (1, 2, 3, 4))
    torch.testing.assert_close(plans, expected, **SAME)


@pytest.mark.parametrize("denoiser", ["unet", "transformer"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
@pytest.mark.usefixtures("float64")
@torch.no_grad()
def test_plans_of_large_networks_match_diffusers(denoiser, sampler, prediction):
    steps = {"sampler": sampler, "prediction": prediction, "sample_steps": 16}
    steps["clip_sample"] = sampler != "dpm++"
    config = Diffusion(denoiser=denoiser, **SMALL[denoiser], **steps)
    policy = small(denoiser, **steps)
    plans = policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
    expected = reference_plan(policy, config, observations(), (1, 2, 3, 4))
    torch.testing.assert_close(plans, expected, **SAME)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
@torch.no_grad()
def test_only_clipped_plans_stay_in_range(sampler):
    for clip, kept in ((True, True), (False, False)):
        policy = small(sampler=sampler, clip_sample=clip)
        policy.net.out.bias.fill_(5.0)
        plans = policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
        assert bool(plans.abs().max() <= 1) is kept


@pytest.mark.usefixtures("float64")
@torch.no_grad()
def test_unclipped_ddim_differs_from_the_clipped_reference():
    """The comparison with diffusers can fail."""
    policy = small(clip_sample=False)
    policy.net.out.bias.fill_(5.0)
    expected = reference_plan(policy, Diffusion(**SMALL["mlp"]), observations(), (1, 2, 3, 4))
    assert (
        policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0] - expected
    ).abs().max() > 1


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
def test_plans_do_not_depend_on_other_rows_of_the_batch(denoiser, sampler):
    policy, obs = small(denoiser, sampler=sampler), observations()
    plans = policy.plan(obs, generators(1, 2, 3, 4)).actions[:, 0]
    other = torch.cat([obs[:1] + 9, obs[1:2], obs[2:] * -3])
    assert torch.equal(policy.plan(obs, generators(1, 2, 3, 4)).actions[:, 0], plans)
    assert torch.equal(policy.plan(other, generators(7, 2, 8, 9)).actions[1, 0], plans[1])
    assert not torch.equal(policy.plan(obs, generators(1, 5, 3, 4)).actions[1, 0], plans[1])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
def test_a_row_has_the_same_plan_in_any_batch_size(denoiser, sampler):
    policy, obs = small(denoiser, sampler=sampler), observations()
    plans = policy.plan(obs, generators(1, 2, 3, 4)).actions[:, 0]
    one = policy.plan(obs[1:2], generators(2)).actions[0, 0]
    torch.testing.assert_close(one, plans[1], **SAME)
    assert (one - plans[0]).abs().max() > 0.01


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_planning_does_not_use_the_global_generator(denoiser):
    policy = small(denoiser, sampler="ddpm")
    before = torch.get_rng_state()
    policy.plan(observations(), generators(1, 2, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
def test_several_plans_differ_and_start_with_the_single_plan(denoiser, sampler):
    policy, obs = small(denoiser, sampler=sampler), observations(2)
    many = policy.plans(obs, generators(1, 2), count=3).actions
    assert many.shape == (2, 3, 8, 3)
    assert (many[:, 1] - many[:, 0]).abs().max() > 0.01
    if sampler == "ddpm":  # plans of a row share its generator
        return
    single = [
        policy.plan(o[None], generators(s)).actions[0, 0] for o, s in zip(obs, (1, 2), strict=True)
    ]
    torch.testing.assert_close(many[:, 0], torch.stack(single), **SAME)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
def test_warm_start_with_little_noise_stays_close_and_needs_fewer_steps(sampler):
    policy, obs = small(sampler=sampler, prediction="epsilon", clip_sample=False), observations()
    with torch.no_grad():  # if the network predicts no noise, a plan only changes its scale
        policy.net.out.weight.zero_()
        policy.net.out.bias.zero_()
    calls = []
    policy.net.register_forward_hook(lambda *_: calls.append(1))
    start = batch()[1][:4]
    far = []
    for level in (0.05, 0.3, 1.0):
        calls.clear()
        warm = policy.plans(obs, generators(1, 2, 3, 4), start_BSA=start, level=level).actions[:, 0]
        far.append((len(calls), float((warm - start).square().mean().sqrt())))
    assert [n for n, _ in far] == [1, 3, 10]
    assert far[0][1] < 0.2
    assert far[0][1] < far[1][1] < far[2][1]


def test_warm_start_of_the_wrong_shape_is_rejected():
    policy, obs, start = small(), observations(), batch()[1][:4]
    for options, words in (
        ({"start_BSA": start[:2]}, "start_BSA must be"),
        ({"start_BSA": start, "level": 0.0}, "level must be above 0"),
        ({"level": 0.5}, "needs start_BSA"),
    ):
        with pytest.raises(ValueError, match=words):
            policy.plans(obs, generators(1, 2, 3, 4), **options)


def test_plans_use_changed_weights():
    """Values cached between plans are recomputed after a training step or a load."""
    for precision in ("float32", "bfloat16", "int8"):
        policy, other = small(precision=precision), small(seed=1, precision=precision)
        before = policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
        with torch.no_grad():
            policy.net.step.outer.weight.mul_(2)
        stepped = policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
        assert not torch.equal(stepped, before)
        policy.load_state_dict(other.state_dict())
        expected = other.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0]
        assert torch.equal(
            policy.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0], expected
        )


def test_a_plan_needs_a_generator_for_each_row():
    with pytest.raises(ValueError, match="4 rows need one generator each, got 1"):
        small().plan(observations(), generators(1)).actions[:, 0]


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
def test_loss_is_reproducible_and_has_gradients_for_every_weight(denoiser, prediction):
    policy = small(denoiser, prediction=prediction)
    torch.manual_seed(1)
    loss = policy.loss(*batch())
    torch.manual_seed(1)
    assert torch.equal(policy.loss(*batch()), loss)
    assert not torch.equal(policy.loss(*batch()), loss)
    loss.backward()
    silent = [name for name, weight in policy.named_parameters() if not weight.grad.any()]
    assert not silent


@pytest.mark.usefixtures("float64")
def test_loss_is_the_mean_over_valid_steps():
    policy, (obs, actions, mask) = small(prediction="sample"), batch()
    with torch.no_grad():
        policy.net.out.weight.zero_()
        policy.net.out.bias.zero_()
    mask[0, 3:], mask[2, 1:] = False, False
    expected = actions[mask].square().mean()
    torch.testing.assert_close(policy.loss(obs, actions, mask), expected, **SAME)


@pytest.mark.parametrize("denoiser", DENOISERS)
def test_masked_steps_give_no_gradient(denoiser):
    policy, (obs, actions, mask) = small(denoiser), batch()
    loss = policy.loss(obs, actions, ~mask)
    loss.backward()
    assert loss == 0
    assert not any(weight.grad.any() for weight in policy.parameters())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("denoiser", DENOISERS)
def test_batched_times_match_single_times(denoiser):
    policy = small(denoiser)
    x, obs = batch()[1], observations(5)
    times = torch.tensor([0, 3, 50, 98, 99])
    together = policy.net(x, policy.net.clock(times), policy.net.context(obs))
    for i, t in enumerate(times):
        alone = policy.net(x, policy.net.clock(t[None]), policy.net.context(obs))
        torch.testing.assert_close(alone[i], together[i], **SAME)


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("tokens", [None, (5, 4)])
@pytest.mark.parametrize("horizon", [1, 2, 3, 6, 9])
def test_every_horizon_works(denoiser, horizon, tokens):
    shape = HeadShape(obs_dim=6, n_obs_steps=1, action_dim=3, horizon=horizon, tokens=tokens)
    head = DiffusionHead(Diffusion(denoiser=denoiser, **SMALL[denoiser]))
    assert head.check(shape) is None
    policy = head.module(shape)
    token_args = () if tokens is None else (torch.randn(2, 1, *tokens),)
    obs, actions = torch.zeros(2, 1, 6), torch.zeros(2, horizon, 3)
    policy.loss(obs, actions, torch.ones(2, horizon, dtype=torch.bool), *token_args).backward()
    assert policy.plan(obs, generators(1, 2), *token_args).actions[:, 0].shape == (2, horizon, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Diffusion(unet=Unet()), "unet is given, but denoiser is 'mlp'; remove unet"),
        (lambda: Diffusion(denoiser="unet", mlp=Mlp()), "mlp is given, but denoiser is 'unet'"),
        (lambda: Diffusion(sample_steps=101), "sample_steps must be at most 100"),
        (lambda: Diffusion(sampler="dpm++", sample_steps=51), "sample_steps must be at most 50"),
        (lambda: Diffusion(sample_steps=0), "'sample_steps' must be >= 1: 0"),
        (lambda: Diffusion(step_dim=5), "step_dim must be even, got 5"),
        (lambda: Diffusion(clip_range=0.0), "'clip_range' must be > 0: 0.0"),
        (lambda: Diffusion(clip_range=float("inf")), "'clip_range' must be < inf: inf"),
        (lambda: Diffusion(clip_sample=False, clip_range=2.0), "clip_range is given, but clip"),
        (lambda: Mlp(width=0), "'width' must be >= 1: 0"),
        (lambda: Unet(down_dims=()), "Length of 'down_dims' must be >= 1: 0"),
        (lambda: Unet(down_dims=(256, 100)), "down_dims must be multiples of groups = 8"),
        (lambda: Unet(down_dims=(8, 16)), "down_dims must be multiples of groups = 8"),
        (lambda: Unet(kernel_size=4), "kernel_size must be odd, got 4"),
        (lambda: Transformer(width=10), "width must be a multiple of heads = 4, got 10"),
    ],
)
def test_contradictory_config_is_rejected(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_loaded_copy_plans_identically():
    policy, other = small(), small(seed=1)
    other.load_state_dict(policy.state_dict())
    plans = [m.plan(observations(), generators(1, 2, 3, 4)).actions[:, 0] for m in (policy, other)]
    plans.append(copy.deepcopy(policy).plan(observations(), generators(1, 2, 3, 4)).actions[:, 0])
    assert torch.equal(plans[0], plans[1])
    assert torch.equal(plans[0], plans[2])


def test_the_components_are_listed_and_checked_without_torch():
    code = (
        "import sys; from rgb2act_core.builtin import rgb2act_policy_heads as heads;"
        "from rgb2act_core.interfaces import HeadShape;"
        "shape = HeadShape(obs_dim=4, n_obs_steps=1, action_dim=2, horizon=3);"
        "names = [c.name for c in heads() if c.build(c.tiny).check(shape) is None];"
        "assert names == ['diffusion', 'flow'];"
        "assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def trained(steps, config):
    """Learn to pass left or right at random, at the distance given by the observation."""
    torch.manual_seed(0)
    policy = DiffusionHead(config).module(
        HeadShape(obs_dim=1, n_obs_steps=1, action_dim=1, horizon=4)
    )
    optimiser = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    mask = torch.ones(128, 4, dtype=torch.bool)
    for _ in range(steps):
        far = 0.3 + 0.6 * torch.rand(128, 1, 1)
        side = torch.randint(2, (128, 1, 1)) * 2.0 - 1.0
        optimiser.zero_grad()
        policy.loss(far * 4 - 2.4, (far * side).expand(-1, 4, -1), mask).backward()
        optimiser.step()
        schedule.step()
    return policy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "net"),
    [
        (150, {"mlp": Mlp(width=64, blocks=2)}),
        (300, {"transformer": Transformer(width=32, layers=1, heads=2)}),
        pytest.param(
            700,
            {"unet": Unet(down_dims=(16, 32))},
            marks=[pytest.mark.slow, pytest.mark.thorough],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_bimodal_plans_are_learned_without_averaging_the_modes(steps, net):
    config = Diffusion(denoiser=next(iter(net)), **net)
    policy = trained(steps, config)
    far = torch.linspace(0.35, 0.85, 100)[:, None, None]
    for sampler in ("ddim", "ddpm", "dpm++"):
        policy.times, policy.steps = sampling(attrs.evolve(config, sampler=sampler))
        plans = policy.plan(far * 4 - 2.4, generators(*range(100))).actions[:, 0]
        assert 0.3 < (plans.mean((1, 2)) > 0).float().mean() < 0.7
        # 0.6 is the error of the mean of both modes, 0.125 that of ignoring the observation
        assert (plans.abs() - far).abs().mean() < 0.08
