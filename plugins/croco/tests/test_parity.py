"""Features are those of upstream's code; each deliberate fault misses the tolerance tenfold."""

from pathlib import Path

import pytest
import torch
from rgb2act_croco import model
from rgb2act_croco.config import Architecture, Croco
from rgb2act_croco.model import Encoder, load, rotate, rotations, sinusoids
from rgb2act_croco.preprocess import MEAN, STD
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

DATA = Path(__file__).parent / "data"
TOLERANCE = 2e-5  # float32 against float64 differs by 1e-6, the smallest known fault by 1e-4
CASES = ("tiny", "tiny_eps")


def encoder(case):
    return load(Croco(weights=str(DATA / f"{case}.pth"), size=64)).encoder


def error(case, net, mean=MEAN, std=STD):
    """Return largest difference from the recorded features over the largest of them."""
    recorded = load_file(DATA / f"{case}.io.safetensors")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    with torch.no_grad():
        tokens = net((recorded["image01"] - mean) / std)
    features = recorded["features"].flatten(1, 2)
    return ((tokens - features).abs().max() / features.abs().max()).item()


@pytest.mark.parametrize("case", CASES)
def test_features_match_recorded_ones(case):
    assert error(case, encoder(case)) < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_first_block_matches_the_recorded_one(case):
    net, seen = encoder(case), []
    net.blocks[0].register_forward_hook(lambda _, __, out: seen.append(out))
    error(case, net)
    recorded = load_file(DATA / f"{case}.io.safetensors")["block0"]
    assert (seen[0] - recorded).abs().max() / recorded.abs().max() < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_missing_rotary_positions_are_detected(case, monkeypatch):
    monkeypatch.setattr(model, "rotate", lambda x, cos, sin: x)
    assert error(case, encoder(case)) > 10 * TOLERANCE


def test_swapped_rows_and_columns_are_detected(monkeypatch):
    def swapped(*args):
        return tuple(t.unflatten(0, (4, 4)).transpose(0, 1).flatten(0, 1) for t in rotations(*args))

    net = encoder("tiny")
    monkeypatch.setattr(model, "rotations", swapped)
    assert error("tiny", net) > 10 * TOLERANCE


def test_another_gelu_is_detected(monkeypatch):
    net, exact = encoder("tiny"), functional.gelu
    monkeypatch.setattr(functional, "gelu", lambda x: exact(x, approximate="tanh"))
    assert error("tiny", net) > 5 * TOLERANCE  # the smallest of these faults: 1.6e-4


@pytest.mark.parametrize("part", ["attention_norm", "mlp_norm", "norm"])
def test_another_epsilon_is_detected(part):
    net = encoder("tiny_eps")
    for name, module in net.named_modules():
        if name.rpartition(".")[2] == part:
            module.eps = 1e-5
    assert error("tiny_eps", net) > 10 * TOLERANCE


def test_swapped_mean_and_std_are_detected():
    assert error("tiny", encoder("tiny"), mean=STD, std=MEAN) > 10 * TOLERANCE


def test_rotary_positions_are_relative():
    """Attention between two patches depends only on their relative position."""
    cos, sin = rotations(5, 7, 16, 100.0, torch.device("cpu"))
    q, k = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    every = rotate(q.expand(35, 16), cos, sin) @ rotate(k.expand(35, 16), cos, sin).T
    grid = every.view(5, 7, 5, 7)
    # float32: 16 products of values near 1, turned by angles below 7
    torch.testing.assert_close(grid[0, 0, 2, 3], grid[2, 3, 4, 6], atol=1e-4, rtol=1e-4)
    assert not torch.isclose(grid[0, 0, 2, 3], grid[0, 0, 3, 2])


def test_added_positions_follow_the_paper():
    """First half: the column, second half: the row; each sines, then cosines."""
    table = sinusoids(Architecture(dim=8, heads=2, image=(32, 48))).view(2, 3, 8)
    slow = 1 / 10_000 ** (1 / 2)  # dim 8: two frequencies an axis
    x, y = torch.tensor([2.0, 2 * slow]), torch.tensor([1.0, slow])
    # float32 sines of angles below 3; the default tolerance is 1e-5
    torch.testing.assert_close(table[1, 2], torch.cat([x.sin(), x.cos(), y.sin(), y.cos()]))


def plain(net, images):
    """Compute a v1 encoder's features once more, step by step, in float64."""
    p, heads = dict(net.double().named_parameters()), net.architecture.heads
    x = functional.conv2d(images.double(), p["patches.weight"], p["patches.bias"], stride=16)
    x = x.flatten(2).transpose(1, 2) + net.positions

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    for i in range(net.architecture.depth):
        qkv = linear(norm(x, f"blocks.{i}.attention_norm"), f"blocks.{i}.attention.qkv")
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in qkv.chunk(3, -1))
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear((shares @ v).transpose(1, 2).flatten(2), f"blocks.{i}.attention.out")
        hidden = linear(norm(x, f"blocks.{i}.mlp_norm"), f"blocks.{i}.widen")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(hidden, f"blocks.{i}.narrow")
    return norm(x, "norm")


def v1(image=(32, 32)):
    torch.manual_seed(0)
    net = Encoder(Architecture(dim=32, depth=2, heads=2, image=image))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def test_added_positions_enter_before_the_blocks():
    """No recorded v1 case is at hand: the reference is written out above."""
    net, images = v1(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = net(images)
        expected = plain(net, images)
        assert (tokens - expected).abs().max() / expected.abs().max() < TOLERANCE
        net.positions.zero_()
        assert (plain(net, images) - expected).abs().max() > 10 * TOLERANCE


def test_added_positions_are_interpolated_to_other_grids():
    net = v1()
    with torch.no_grad():
        assert torch.equal(net._positions(2, 2), net.positions)
        assert net._positions(3, 4).shape == (12, 32)
        assert net(torch.zeros(1, 3, 48, 64)).shape == (1, 12, 32)
