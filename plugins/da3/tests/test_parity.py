"""Outputs equal those of upstream's code; each comparison has a fault that it must notice."""

from pathlib import Path

import attrs
import pytest
import torch
from rgb2act_da3 import backbone, model
from rgb2act_da3.config import DA3
from rgb2act_da3.preprocess import MEAN, STD
from safetensors.torch import load_file
from torch.nn import functional

DATA = Path(__file__).parent / "data"
CLOSE = 2e-5  # of the largest value; upstream's float32 is within 1.2e-6 of its float64
CASES = [
    ("tiny", "w4", "saddle_balanced", (3, 5)),
    ("tiny", "w4_first", "first", (3, 5)),
    ("tiny", "w2", "saddle_balanced", (3, 5)),
    ("tiny", "w1", "saddle_balanced", (3, 5)),
    ("tiny_eps", "w3_first", "first", (3, 5)),
    ("tiny_giantlike", "w3", "saddle_balanced", (4, 6)),
    ("tiny_giantlike", "w2", "saddle_balanced", (4, 6)),
]
each = pytest.mark.parametrize(("weights", "case", "rule", "layers"), CASES)


def network(weights):
    path = DATA / f"{weights}.weights.safetensors"
    return backbone.read_network(DA3(weights=str(path), variant="file"), path).eval()


def normalised(images01, mean=MEAN, std=STD):
    return (images01 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@torch.no_grad()
def run(net, images_WK3HW, rule, layers, *, roles=False, newest=False):
    parts = net.frames(images_WK3HW.flatten(0, 1), layers, roles, clue=True)
    front = images_WK3HW.shape[:2]
    parts = {name: part.unflatten(0, front) for name, part in parts.items()}
    grid = (images_WK3HW.shape[-2] // 14, images_WK3HW.shape[-1] // 14)
    return net.windows(parts, grid, layers, rule, newest)


def error(found, weights, case, layers):
    recorded = load_file(DATA / f"{weights}.io.safetensors")
    worst = 0.0
    for layer, features in zip(layers, found, strict=True):
        expected = recorded[f"{case}.features_l{layer}"].flatten(2, 3)[:, -features.shape[1] :]
        worst = max(worst, float((features - expected).abs().max() / expected.abs().max()))
    return worst


def images(weights, case):
    return load_file(DATA / f"{weights}.io.safetensors")[f"{case}.images01"]


@each
@pytest.mark.parametrize("roles", [False, True])
@pytest.mark.parametrize("newest", [False, True])
def test_features_equal_upstream(weights, case, rule, layers, roles, newest):
    x = normalised(images(weights, case))
    found = run(network(weights), x, rule, layers, roles=roles, newest=newest)
    assert error(found, weights, case, layers) < CLOSE


@each
def test_swapped_mean_and_std_are_detected(weights, case, rule, layers):
    x = normalised(images(weights, case), STD, MEAN)
    assert error(run(network(weights), x, rule, layers), weights, case, layers) > 10 * CLOSE


@each
def test_missing_rotary_embedding_is_detected(weights, case, rule, layers, monkeypatch):
    monkeypatch.setattr(model, "rotate", lambda x, turn: x)
    x = normalised(images(weights, case))
    assert error(run(network(weights), x, rule, layers), weights, case, layers) > 10 * CLOSE


@each
def test_other_epsilon_in_final_norm_is_detected_where_sums_are_small(weights, case, rule, layers):
    net = network(weights)
    net.norm.eps = 1e-6
    x = normalised(images(weights, case))
    noticed = error(run(net, x, rule, layers), weights, case, layers) > 10 * CLOSE
    assert noticed == (weights == "tiny_eps")


@pytest.mark.parametrize("part", ["attention_norm", "mlp_norm", "query_norm", "key_norm"])
def test_other_epsilon_in_blocks_is_detected(part):
    net = network("tiny_eps")
    for name, module in net.named_modules():
        if name.endswith(part):
            module.eps = 1e-5 if module.eps == 1e-6 else 1e-6
    found = run(net, normalised(images("tiny_eps", "w3_first")), "first", (3, 5))
    assert error(found, "tiny_eps", "w3_first", (3, 5)) > 10 * CLOSE


def test_wrong_reference_view_is_detected():
    found = run(network("tiny"), normalised(images("tiny", "w4")), "first", (3, 5))
    assert error(found, "tiny", "w4", (3, 5)) > 10 * CLOSE


def test_real_positions_in_shared_blocks_are_detected(monkeypatch):
    def real(grid, frames, sizes, device):
        cosine, sine = model.turns(grid, sizes, device)
        return cosine.repeat(frames, 1, 1), sine.repeat(frames, 1, 1)

    monkeypatch.setattr(model, "alike", real)
    found = run(network("tiny"), normalised(images("tiny", "w4_first")), "first", (3, 5))
    assert error(found, "tiny", "w4_first", (3, 5)) > 10 * CLOSE


@pytest.mark.parametrize("change", [{"size": (3, 4), "scale_factor": None}, {"antialias": True}])
def test_other_interpolation_of_positions_is_detected(change, monkeypatch):
    plain = functional.interpolate
    monkeypatch.setattr(model.functional, "interpolate", lambda x, **a: plain(x, **(a | change)))
    found = run(network("tiny"), normalised(images("tiny", "w4_first")), "first", (3, 5))
    assert error(found, "tiny", "w4_first", (3, 5)) > 10 * CLOSE


def test_swapped_halves_of_swiglu_are_detected():
    net = network("tiny_giantlike")
    for block in net.blocks:
        gate, value = block.mlp.up.weight.detach().chunk(2)
        block.mlp.up.weight = torch.nn.Parameter(torch.cat([value, gate]))
    found = run(net, normalised(images("tiny_giantlike", "w2")), "first", (4, 6))
    assert error(found, "tiny_giantlike", "w2", (4, 6)) > 10 * CLOSE


def test_mono_network_equals_the_first_blocks_of_the_other():
    """No mono case is recorded: before the camera token both kinds are equal."""
    net = network("tiny")
    sizes = attrs.evolve(net.sizes, depth=2, views_from=None)
    mono = model.Network(sizes).eval()
    names = mono.state_dict()
    mono.load_state_dict({name: net.state_dict()[name] for name in names})
    x = normalised(images("tiny", "w1"))
    (features,) = run(mono, x, "first", (1,))
    (paired,) = run(net, x, "first", (1,))
    # the same operations on the same shapes
    torch.testing.assert_close(features, paired[..., net.sizes.dim :], rtol=0, atol=0)
