"""Layers in bfloat16 and int8 are as close to float32 as their formats allow."""

import os
import subprocess
import sys

import pytest
import torch

from rgb2act_core.builtin.heads.denoiser_config import Mlp, Transformer, Unet
from rgb2act_core.builtin.heads.denoisers import build_denoiser
from rgb2act_core.builtin.heads.precision import acting_copy, pack
from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import HeadShape

# relative rounding errors: 8 bits of mantissa; 1 part in 254 of the largest in both factors,
# 1 in 126 in the weights where the processor has no VNNI
ERROR = {"bfloat16": 0.004, "int8": 0.03}
# Summed in another order in float32: 6e-8 of values near 1 in sums of at most 1e3 terms.
SUMS = {"atol": 1e-4, "rtol": 1e-4}
# Both formats err by more than this, and float32 by less.
ROUNDED = 1e-4
NETS = {
    "mlp": Mlp(width=256, blocks=2),
    "unet": Unet(down_dims=(64, 128, 256)),
    "transformer": Transformer(width=128, layers=2),
}


@pytest.mark.parametrize("precision", ERROR)
@pytest.mark.parametrize("rows", [(1,), (2,), (3, 5)])
def test_products_are_rounded_to_the_precision(precision, rows):
    torch.manual_seed(0)
    weight, x = torch.randn(256, 512), torch.randn(*rows, 512)
    x[0] *= 1e3  # every row has its own scale
    exact, rounded = x @ weight.T, pack(weight, precision)(x)
    assert rounded.shape == exact.shape
    error = (rounded - exact).square().mean(-1).sqrt() / exact.square().mean(-1).sqrt()
    assert (error < ERROR[precision]).all()
    assert (error > ROUNDED).all()


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["AVX2", "SSE41"])
def test_int8_products_do_not_saturate_on_processors_without_vnni(isa):
    script = """
import torch
from rgb2act_core.builtin.heads.precision import pack
weight, x = torch.full((64, 256), 1.0), torch.full((4, 256), 1.0)
# exact but for the scales, which round to float32; saturation is an error of one half
torch.testing.assert_close(pack(weight, "int8")(x), x @ weight.T, rtol=1e-5, atol=0)
"""
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": isa}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)


@pytest.mark.parametrize("precision", ERROR)
def test_rows_of_zeros_stay_zeros(precision):
    assert not pack(torch.zeros(128, 128), precision)(torch.zeros(2, 128)).any()
    assert not pack(torch.randn(128, 128), precision)(torch.zeros(2, 128)).any()


@pytest.mark.parametrize("precision", ERROR)
@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_reduced_networks_are_close_and_share_the_other_weights(name, precision):
    torch.manual_seed(0)
    shape = HeadShape(obs_dim=40, n_obs_steps=2, action_dim=7, horizon=8)
    net = build_denoiser(NETS[name], shape, 64)
    acting = acting_copy(net, precision)
    x, obs, times = torch.randn(3, 8, 7), torch.randn(3, 2, 40), torch.tensor([7])
    exact = net(x, net.clock(times), net.context(obs))
    near = acting(x, acting.clock(times), acting.context(obs))
    error = (near - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert ROUNDED < error < 3 * ERROR[precision]  # a few layers add up
    own = {id(weight) for weight in net.parameters()}
    assert {id(weight) for weight in acting.parameters()} <= own


def test_float32_returns_the_network_itself():
    net = build_denoiser(Mlp(), HeadShape(obs_dim=4, n_obs_steps=1, action_dim=2, horizon=4), 16)
    assert acting_copy(net, "float32") is net


@pytest.mark.parametrize("horizon", [8, 16])
@torch.no_grad()
def test_float32_unet_is_exact_and_transposes_weights_of_layers_with_few_rows(horizon):
    torch.manual_seed(0)
    shape = HeadShape(obs_dim=40, n_obs_steps=2, action_dim=7, horizon=horizon)
    net = build_denoiser(NETS["unet"], shape, 64)
    acting = acting_copy(net, "float32")
    obs, times = torch.randn(1, 2, 40), torch.tensor([7])
    for rows in (1, 3):
        x = torch.randn(rows, horizon, 7)
        told = net.clock(times), net.context(obs).expand(rows, -1)
        torch.testing.assert_close(acting(x, *told), net(x, *told), **SUMS)
    assert {id(weight) for weight in acting.parameters()} == {id(w) for w in net.parameters()}


def test_float32_products_of_few_rows_use_a_transposed_copy():
    weight = torch.randn(32, 48)
    product, rows = pack(weight, "float32"), torch.randn(1, 16, 48)
    sizes = (1, 3, 4, 15, 16)
    exact = [rows[:, :size] @ weight.T for size in sizes]
    product(rows[:, :4])  # creates the copy
    weight.zero_()  # changes the result unless the copy is used
    copied = [bool(product(rows[:, :size]).any()) for size in sizes]
    assert copied == [False, False, True, True, False]
    torch.testing.assert_close(product(rows[:, :4]), exact[2], **SUMS)


def test_int8_on_a_gpu_is_an_error():
    with pytest.raises(UserError, match="precision 'int8' needs a CPU, got 'meta'"):
        pack(torch.zeros(128, 128, device="meta"), "int8")
