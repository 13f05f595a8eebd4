"""The UNet against torch's own convolutions and a plain version of the official network."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from rgb2act_core.builtin.heads.denoiser_config import Unet
from rgb2act_core.builtin.heads.denoisers import build_denoiser
from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead
from rgb2act_core.builtin.heads.unet import Convolution, TransposedConvolution, taps_in_use
from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import HeadShape

DIMS = (16, 24, 32)
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Two orders of the same sums, in float64: rounding (1e-16) times at most 1e3 terms and layers.
SAME = {"atol": 1e-11, "rtol": 1e-9}


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    """Make new modules and tensors float64, the embedding of diffusion steps included."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def official(monkeypatch):
    """Return the module that converts official weights."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("official_unet")


@pytest.fixture
def plain(monkeypatch):
    """Return the plain network, whose parameters have the official names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "plain_unet", raising=False)
    from plain_unet import PlainUnet

    torch.manual_seed(1)
    return PlainUnet(3, 12, step_dim=32, down_dims=DIMS)


def unet(horizon=8, **sizes):
    torch.manual_seed(0)
    shape = HeadShape(obs_dim=6, n_obs_steps=2, action_dim=3, horizon=horizon)
    return build_denoiser(Unet(**({"down_dims": DIMS} | sizes)), shape, 32)


def predict(net, x, times, obs):
    return net(x, net.clock(times), net.context(obs))


@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (5, 1), (9, 1)])
def test_convolution_as_matrix_product_matches_torch(length, size, stride):
    torch.manual_seed(0)
    ours, x = Convolution(6, 4, size, stride), torch.randn(3, 6, length)
    kernel = ours.weight.permute(0, 2, 1)
    theirs = F.conv1d(x, kernel, ours.bias, stride, padding=size // 2)
    torch.testing.assert_close(ours(x.mT).mT, theirs, **SAME)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_upsampling_matches_the_transposed_convolution(length):
    torch.manual_seed(0)
    ours, x = TransposedConvolution(6), torch.randn(3, 6, length)
    kernel = ours.weight.permute(2, 1, 0)
    theirs = F.conv_transpose1d(x, kernel, ours.bias, stride=2, padding=1)
    torch.testing.assert_close(ours(x.mT).mT, theirs, **SAME)


def test_kernel_positions_that_only_cover_padding_are_skipped():
    assert [taps_in_use(n, 5, 1, 2) for n in (1, 2, 3)] == [slice(2, 3), slice(1, 4), slice(0, 5)]
    assert taps_in_use(2, 3, 2, 1) == slice(1, 3)


@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (5, 1)])
def test_gradients_match_the_convolution(length, size, stride):
    torch.manual_seed(0)
    ours, x = Convolution(6, 4, size, stride), torch.randn(3, 6, length, requires_grad=True)
    wanted = (x, ours.weight, ours.bias)
    theirs = F.conv1d(x, ours.weight.permute(0, 2, 1), ours.bias, stride, padding=size // 2)
    g = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, wanted, g)
    found = torch.autograd.grad(ours(x.mT).mT, wanted, g)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **SAME)


@pytest.mark.parametrize("horizon", [4, 8, 16])
@torch.no_grad()
def test_official_weights_reproduce_the_official_output(plain, official, horizon):
    net = unet(horizon)
    official.read_official(net, plain.state_dict())
    x, obs, times = torch.randn(5, horizon, 3), torch.randn(5, 2, 6), torch.arange(5) * 20
    expected = plain(x, times, obs)
    torch.testing.assert_close(predict(net, x, times, obs), expected, **SAME)
    with torch.no_grad():  # the comparison can fail: two blocks swapped
        net.blocks[1], net.blocks[3] = net.blocks[3], net.blocks[1]
        net.blocks[1].first, net.blocks[3].first = net.blocks[3].first, net.blocks[1].first
        net.blocks[1].second, net.blocks[3].second = net.blocks[3].second, net.blocks[1].second
        net.film_obs.weight.copy_(net.film_obs.weight.roll(1, 0))
    assert (predict(net, x, times, obs) - expected).abs().max() > 1e-3


def test_gradients_match_the_official_network(plain, official):
    net = unet()
    official.read_official(net, plain.state_dict())
    x, obs, times = torch.randn(5, 8, 3), torch.randn(5, 2, 6), torch.arange(5) * 20
    plain(x, times, obs).square().mean().backward()
    predict(net, x, times, obs).square().mean().backward()
    for weight in net.parameters():
        weight.data = weight.grad
    for name, gradient in official.write_official(net).items():
        expected = plain.get_parameter(name).grad
        torch.testing.assert_close(gradient, expected, **SAME, msg=name)


def test_converting_official_weights_round_trips(plain, official):
    net, state = unet(), plain.state_dict()
    official.read_official(net, state)
    back = official.write_official(net)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], weight) for key, weight in state.items())


def test_mismatched_weights_are_an_error_and_change_nothing(plain, official):
    net, state = unet(), plain.state_dict()
    before = official.write_official(net)
    state["model.x"] = state.pop("final_conv.1.bias")
    with pytest.raises(UserError, match=r"a.ckpt: has no 'final_conv.1.bias' and an unknown 'mod"):
        official.read_official(net, state, "a.ckpt")
    with pytest.raises(
        UserError, match=r"weights: 'down_modules.* is \(16, 3, 5\), .* \(16, 3, 7\)"
    ):
        official.read_official(unet(kernel_size=7), plain.state_dict())
    assert all(
        torch.equal(weight, before[key]) for key, weight in official.write_official(net).items()
    )


def test_token_attention_keeps_its_weights(plain, official):
    shape = HeadShape(obs_dim=6, n_obs_steps=2, action_dim=3, horizon=8, tokens=(5, 4))
    policy = DiffusionPolicy(Diffusion(denoiser="unet", unet=Unet(down_dims=DIMS)), shape)
    reader = policy.net.observed.reader.queries.clone()
    official.read_official(
        policy.net, {k: v + 1 for k, v in official.write_official(policy.net).items()}
    )
    assert torch.equal(policy.net.observed.reader.queries, reader)


def test_odd_lengths_are_padded_with_zeros():
    x, obs, times = torch.randn(2, 6, 3), torch.randn(2, 2, 6), torch.tensor([3])
    padded = F.pad(x, (0, 0, 0, 2))
    short, long = unet(6), unet(8)
    long.load_state_dict(short.state_dict())
    expected = predict(long, padded, times, obs)[:, :6]
    assert torch.equal(predict(short, x, times, obs), expected)


def test_the_full_size_unet_has_the_parameter_count_of_the_paper():
    shape = HeadShape(obs_dim=1280, n_obs_steps=2, action_dim=14, horizon=16)
    with torch.device("meta"):
        policy = DiffusionHead(Diffusion(denoiser="unet")).module(shape)
    # per block: two convolutions, two norms, FiLM on 2 x 1280 + 128, a 1x1 where widths differ
    assert sum(weight.numel() for weight in policy.parameters()) == 99_702_670
