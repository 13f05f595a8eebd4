import subprocess
import sys

import pytest
import torch

from rgb2act_core import UserError
from rgb2act_core.builtin import rgb2act_fusions
from rgb2act_core.builtin.fusions.config import Moe, Weighted
from rgb2act_core.builtin.fusions.modules import MoeFusion, WeightedFusion

# assert_close without tolerances allows 1.3e-6 relative and 1e-5 absolute in float32: shares of 1,
# sums of 3 backbones and means of 15 tokens near 1, which err by at most 15 times 6e-8.


def tokens(b=3, n=5, m=3, d=8, seed=0):
    return torch.randn(b, n, m, d, generator=torch.Generator().manual_seed(seed))


def weighted(per, seed=0):
    torch.manual_seed(seed)
    module = WeightedFusion(Weighted(per=per)).module(3, 8)
    if module.gate is not None:
        torch.nn.init.normal_(module.gate.weight)
    return module


def moe(m=3, d=8, seed=0, **config):
    torch.manual_seed(seed)
    return MoeFusion(Moe(**{"hidden": 16} | config)).module(m, d)


@pytest.mark.parametrize("component", list(rgb2act_fusions()), ids=lambda c: c.name)
def test_tiny_builds_and_shares_sum_to_one(component):
    fused = component.build(component.tiny).module(3, 8)(tokens())
    assert fused.tokens.shape == (3, 5, 8)
    assert fused.weights.shape == (3,)
    torch.testing.assert_close(fused.weights.sum(), torch.tensor(1.0))
    assert fused.loss.shape == ()


def test_listing_fusions_imports_no_torch():
    code = (
        "import sys; from rgb2act_core.builtin import rgb2act_fusions;"
        "list(rgb2act_fusions()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("per", ["global", "sample", "token"])
def test_a_single_backbone_is_passed_on(per):
    x = tokens(m=1).requires_grad_()
    fused = WeightedFusion(Weighted(per=per)).module(1, 8)(x)
    fused.tokens.sum().backward()
    assert torch.equal(fused.tokens, x[:, :, 0])
    assert fused.weights.tolist() == [1]
    assert torch.equal(x.grad, torch.ones_like(x))
    assert WeightedFusion(Weighted()).module(1, 8)(x.bfloat16()).tokens.dtype == torch.float32


def test_weighted_starts_as_the_plain_mean():
    x = tokens()
    fused = WeightedFusion(Weighted()).module(3, 8)(x)
    torch.testing.assert_close(fused.tokens, x.mean(2))
    assert fused.loss == 0


def test_weighted_learns_the_informative_backbone():
    x = tokens()
    module = WeightedFusion(Weighted()).module(3, 8)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.3)
    for _ in range(40):
        optimiser.zero_grad()
        (module(x).tokens - x[:, :, 1]).square().mean().backward()
        optimiser.step()
    assert module(x).weights[1] > 0.95


@pytest.mark.parametrize("k", [1, 2, 3])
def test_moe_equals_a_softmax_over_the_k_best_logits(k):
    x, module = tokens(), moe(k=k).eval()
    logits = module.gate(x.flatten(2))
    best = logits.topk(k, dim=-1)
    shares = torch.zeros_like(logits).scatter(-1, best.indices, best.values.softmax(-1))
    fused = module(x)
    torch.testing.assert_close(fused.tokens, (x * shares[..., None]).sum(2))
    torch.testing.assert_close(fused.weights, shares.mean((0, 1)))


def test_moe_is_noisy_in_training_only():
    x, module = tokens(), moe(k=1, noise=50.0)
    assert not torch.equal(module(x).tokens, module(x).tokens)
    module.eval()
    assert torch.equal(module(x).tokens, module(x).tokens)


def test_moe_without_noise_draws_nothing():
    x, module = tokens(), moe(noise=0.0)
    before = torch.get_rng_state()
    module(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_moe_noise_follows_the_global_seed():
    x, module = tokens(), moe()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(module(x).tokens)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("k", [1, 2])
def test_moe_gate_and_noise_scale_learn_from_the_task(k):
    module = moe(k=k, balance=0.0)
    module(tokens()).tokens.square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_moe_balance_spreads_load():
    x, module = tokens(b=8, n=16), moe(k=1, balance=1.0)
    with torch.no_grad():
        module.gate[-1].bias[0] += 3.0  # collapsed onto one backbone
    start = module(x)
    assert start.weights[0] > 0.95
    assert start.loss > 1.0
    optimiser = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(60):
        optimiser.zero_grad()
        module(x).loss.backward()
        optimiser.step()
    assert module(x).weights.max() < 0.6


def test_moe_balance_is_zero_when_every_backbone_is_kept():
    assert (
        moe(k=3, balance=1.0)(tokens()).loss.abs() < 1e-5
    )  # variance of three shares of 1/3 in float32


def test_moe_rejects_k_above_the_number_of_backbones():
    with pytest.raises(UserError) as caught:
        MoeFusion(Moe(k=2)).module(1, 8)
    assert str(caught.value) == (
        "moe: k is 2, but the run has 1 backbone; set k to at most 1 or add backbones"
    )


@pytest.mark.parametrize("field", [{"k": 0}, {"noise": -1.0}, {"hidden": 0}, {"balance": -0.1}])
def test_moe_config_rejects_invalid_values(field):
    with pytest.raises(ValueError, match="must be >="):
        Moe(**field)


@pytest.mark.parametrize("per", ["sample", "token"])
def test_input_dependent_weights_start_equal(per):
    x = tokens()
    fused = WeightedFusion(Weighted(per=per)).module(3, 8)(x)
    torch.testing.assert_close(fused.tokens, x.mean(2))


@pytest.mark.parametrize("kind", ["weighted", "moe"])
@pytest.mark.parametrize("per", ["sample", "token"])
def test_weights_are_per_frame_or_per_token(kind, per):
    x = tokens()
    module = (weighted(per) if kind == "weighted" else moe(k=1, per=per)).eval()
    seen = x.flatten(2)
    logits = module.gate(seen.mean(1, keepdim=True) if per == "sample" else seen).expand(3, 5, 3)
    chosen = logits.softmax(-1)
    if kind == "moe":
        chosen = torch.nn.functional.one_hot(logits.argmax(-1), 3).float()
    fused = module(x)
    torch.testing.assert_close(fused.tokens, (x * chosen[..., None]).sum(2))
    torch.testing.assert_close(fused.weights, chosen.mean((0, 1)))
    assert (chosen != chosen[:, :1]).any() == (per == "token")


def test_moe_per_all_depends_only_on_its_learned_logits():
    module = moe(k=1, per="global").eval()
    module.logits_M.data[1] = 2.0
    torch.testing.assert_close(module(tokens()).tokens, tokens()[:, :, 1])


@pytest.mark.parametrize("kind", ["weighted", "moe"])
@pytest.mark.parametrize("per", ["global", "sample", "token"])
def test_weights_have_gradients_for_the_entropy_loss(kind, per):
    module = weighted(per) if kind == "weighted" else moe(k=2, per=per)
    module(tokens()).weights[0].backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
