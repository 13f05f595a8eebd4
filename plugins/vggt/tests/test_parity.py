"""Features are those of upstream's code; each deliberate fault misses the tolerance tenfold."""

from pathlib import Path

import pytest
import torch
from rgb2act_vggt import model
from rgb2act_vggt.backbone import load
from rgb2act_vggt.config import Vggt
from rgb2act_vggt.model import turns
from rgb2act_vggt.preprocess import MEAN, STD
from safetensors.torch import load_file
from torch.nn import functional

DATA = Path(__file__).parent / "data"
CLOSE = 2e-5  # of the largest value; upstream's float32 is within 1e-6 of its float64
CASES = [("tiny", "w3"), ("tiny", "w1"), ("tiny", "w2sq"), ("tiny_eps", "w3")]
each = pytest.mark.parametrize(("weights", "case"), CASES)


def network(weights):
    return load(Vggt(weights=str(DATA / f"{weights}.pt"), resize="native")).network


def recorded(weights, case, name):
    return load_file(DATA / f"{weights}.io.safetensors")[f"{case}.{name}"]


def gap(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def error(net, weights, case, mean=MEAN, std=STD):
    """Return the largest difference of the newest frame's features, and of the inner network's."""
    images01 = recorded(weights, case, "images01")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    b, k = images01.shape[:2]
    turn = turns((images01.shape[3] // 14, images01.shape[4] // 14), net.sizes, images01.device)
    described = net.describe(((images01 - mean) / std).flatten(0, 1))
    inner = gap(described, recorded(weights, case, "dino_patch_tokens"))
    frames = described.unflatten(0, (b, k))
    others = None
    if k > 1:
        others = net.begin(frames[:, 1:].flatten(0, 1), 1, turn).unflatten(0, (b, k - 1))
    first = net.begin(frames[:, 0], 0, turn)
    found = net.windows(first, others, (net.sizes.depth - 1,), turn)
    return gap(found, recorded(weights, case, "features")[:, -1].flatten(1, 2)), inner


@each
def test_features_equal_upstream(weights, case):
    features, inner = error(network(weights), weights, case)
    assert features < CLOSE
    assert inner < CLOSE


@each
def test_swapped_mean_and_std_are_detected(weights, case):
    assert error(network(weights), weights, case, STD, MEAN)[0] > 10 * CLOSE


@each
def test_missing_rotary_embedding_is_detected(weights, case, monkeypatch):
    monkeypatch.setattr(model, "rotate", lambda x, turn: x)
    assert error(network(weights), weights, case)[0] > 10 * CLOSE


@each
def test_positions_from_zero_are_detected(weights, case, monkeypatch):
    def shifted(grid, sizes, device):
        cosine, sine = model.turns(grid, sizes, device)
        angle = torch.atan2(sine, cosine)
        special = 1 + sizes.registers
        places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).float()
        speeds = 100.0 ** -(torch.arange(angle.shape[-1]) / angle.shape[-1])
        angle[special:] = places[..., None] * speeds
        return angle.cos(), angle.sin()

    monkeypatch.setitem(globals(), "turns", shifted)
    assert error(network(weights), weights, case)[0] > 10 * CLOSE


@pytest.mark.parametrize("case", ["w3", "w2sq"])
def test_wrong_roles_of_frames_are_detected(case):
    net = network("tiny")
    net.camera_tokens.data = net.camera_tokens.data.flip(1)
    assert error(net, "tiny", case)[0] > 10 * CLOSE


@pytest.mark.parametrize("part", ["attention_norm", "mlp_norm", "query_norm", "key_norm"])
def test_other_epsilon_in_blocks_is_detected(part):
    net = network("tiny_eps")
    for name, module in net.named_modules():
        if name.endswith(part):
            module.eps = 1e-6
    assert error(net, "tiny_eps", "w3")[0] > 10 * CLOSE


def test_other_epsilon_in_the_inner_network_is_detected():
    net = network("tiny_eps")
    for module in net.inner.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-5
    assert error(net, "tiny_eps", "w3")[1] > 10 * CLOSE


def test_another_gelu_is_detected(monkeypatch):
    net, exact = network("tiny"), functional.gelu
    monkeypatch.setattr(functional, "gelu", lambda x, **_: exact(x, approximate="tanh"))
    assert error(net, "tiny", "w3")[0] > 5 * CLOSE  # the smallest of these faults


def test_plain_interpolation_of_positions_is_detected(monkeypatch):
    net, plain = network("tiny"), functional.interpolate

    def without(x, *args, **options):
        return plain(x, *args, **(options | {"antialias": False}))

    monkeypatch.setattr(functional, "interpolate", without)
    assert error(net, "tiny", "w3")[1] > 10 * CLOSE
