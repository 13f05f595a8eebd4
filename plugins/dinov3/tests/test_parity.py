"""Features are those of upstream's code; each deliberate fault misses the tolerance tenfold."""

from pathlib import Path

import pytest
import torch
from rgb2act_dinov3 import model
from rgb2act_dinov3.config import Dinov3
from rgb2act_dinov3.model import load, outputs
from rgb2act_dinov3.preprocess import MEANS, STDS
from safetensors.torch import load_file
from torch import nn

DATA = Path(__file__).parent / "data"
TOLERANCE = 2e-5  # float32 against float64 differs by 1e-6, the smallest known fault by 1e-4
MEAN, STD = MEANS["lvd1689m"], STDS["lvd1689m"]
CASES = [
    ("tiny_mlp.pth", "tiny_mlp.io", "a."),
    ("tiny_mlp.pth", "tiny_mlp.io", "b."),
    ("tiny_mlp_eps.pth", "tiny_mlp_eps.io", "a."),
    ("tiny_swiglu.pth", "tiny_swiglu.io", "a."),
    ("tiny_mlp.hf", "tiny_mlp.hf.io", ""),
    ("tiny_swiglu.hf", "tiny_swiglu.hf.io", ""),
]


def built(weights, **options):
    return load(Dinov3(weights=str(DATA / weights), resize="native", **options))


def error(backbone, recorded, case, mean=MEAN, std=STD):
    """Return largest difference from the recorded features over the largest of them."""
    tensors = load_file(DATA / f"{recorded}.safetensors")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    with torch.no_grad():
        tokens = outputs(backbone.net, (tensors[f"{case}image01"] - mean) / std, backbone.layers)
    features = tensors[f"{case}features"].flatten(1, 2)
    return ((tokens - features).abs().max() / features.abs().max()).item()


@pytest.mark.parametrize(("weights", "recorded", "case"), CASES)
def test_features_match_recorded_ones(weights, recorded, case):
    assert error(built(weights), recorded, case) < TOLERANCE


def test_the_first_block_matches_the_recorded_one():
    backbone, seen = built("tiny_mlp.pth"), []
    backbone.net.blocks[0].register_forward_hook(lambda _, __, out: seen.append(out[:, 5:]))
    error(backbone, "tiny_mlp.io", "a.")
    recorded = load_file(DATA / "tiny_mlp.io.safetensors")["a.block0_patch"].flatten(1, 2)
    assert (seen[0] - recorded).abs().max() / recorded.abs().max() < TOLERANCE


def test_computed_periods_instead_of_stored_ones_are_detected(monkeypatch):
    fill = model._fill_buffers
    monkeypatch.setattr(model, "_fill_buffers", lambda *args: fill(*args[:3], None))
    assert error(built("tiny_mlp.pth"), "tiny_mlp.io", "a.") > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("weights", "recorded", "case"), [CASES[0], CASES[3], CASES[4]], ids=["mlp", "swiglu", "hf"]
)
def test_swapped_mean_and_std_are_detected(weights, recorded, case):
    assert error(built(weights), recorded, case, mean=STD, std=MEAN) > 10 * TOLERANCE


def test_another_epsilon_is_detected():
    backbone = built("tiny_mlp_eps.pth")
    for module in backbone.net.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    assert error(backbone, "tiny_mlp_eps.io", "a.") > 10 * TOLERANCE


def test_another_gelu_is_detected():
    backbone = built("tiny_mlp.pth")
    for module in list(backbone.net.modules()):
        if isinstance(getattr(module, "act", None), nn.GELU):
            module.act = nn.GELU(approximate="tanh")
    assert error(backbone, "tiny_mlp.io", "a.") > 5 * TOLERANCE  # the smallest of these faults


def test_swapped_gate_and_value_are_detected():
    backbone = built("tiny_swiglu.pth")
    for block in backbone.net.blocks:
        block.mlp.fc1_g, block.mlp.fc1_x = block.mlp.fc1_x, block.mlp.fc1_g
    assert error(backbone, "tiny_swiglu.io", "a.") > 10 * TOLERANCE


def test_periods_stay_float32_in_lower_precision():
    backbone = built("tiny_mlp.pth", precision="bfloat16")
    exact = built("tiny_mlp.pth").net.rope.periods
    assert torch.equal(backbone.net.rope.periods, exact)
    assert backbone.to(torch.device("cpu")).net.rope.periods.dtype is torch.float32
