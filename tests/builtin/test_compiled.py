"""Compiled networks give the same plans and report the time that compiling takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core import find_run
from rgb2act_core.builtin.heads.denoiser_config import Mlp, Transformer, Unet
from rgb2act_core.builtin.heads.diffusion_config import Diffusion
from rgb2act_core.builtin.heads.factories import DiffusionHead
from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import Compilable, HeadShape
from rgb2act_core.serving import load_server

# A compiled network sums in another order. A clean plan predicted in float32 errs by about 1e-6 at
# these sizes; a step passes on less than the error before it and there are four, so 1e-4 is ample.
ROUNDING = 1e-4
SHAPE = HeadShape(obs_dim=8, n_obs_steps=2, action_dim=3, horizon=6)
CONFIGS = {
    "mlp": Diffusion(mlp=Mlp(width=32, blocks=1), sample_steps=4),
    "unet": Diffusion(denoiser="unet", unet=Unet(down_dims=(16, 32)), sample_steps=4),
    "transformer": Diffusion(
        denoiser="transformer", transformer=Transformer(width=32, layers=1), sample_steps=4
    ),
}


def plan(config: Diffusion, compiled: bool) -> torch.Tensor:
    torch.manual_seed(0)
    policy = DiffusionHead(config).module(SHAPE).eval()
    assert isinstance(policy, Compilable)
    if compiled:
        policy.compile_plans()
    obs_BOD = torch.linspace(-1, 1, 32).view(2, 2, 8)
    return policy.plan(obs_BOD, [torch.Generator().manual_seed(i) for i in range(2)]).actions[:, 0]


COMPILE = """
import torch
from rgb2act_core.builtin.heads.compiled import Compiled
net = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.LayerNorm(32))
x = torch.linspace(-1, 1, 64).view(2, 32)
assert torch.allclose(Compiled(net)(x), net(x), atol=1e-5)  # float32 sums of 32 values up to 1
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_code_compiled_for_other_instructions_is_not_reused(tmp_path: Path) -> None:
    """torch's cache of compiled graphs does not distinguish the vector instructions in use."""
    for capability in ({}, {"ATEN_CPU_CAPABILITY": "default"}):
        env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)} | capability
        done = subprocess.run(
            [sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mlp", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("unet", "transformer"))],
)
def test_compiled_networks_give_the_same_plans(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.compiler.reset()
    plans = [plan(CONFIGS[name], compiled) for compiled in (False, True)]
    torch.testing.assert_close(plans[1], plans[0], rtol=0, atol=ROUNDING)
    assert "policy: compiled in " in capfd.readouterr().err


@pytest.mark.slow
def test_missing_compiler_is_an_error() -> None:
    import torch._inductor.config as settings

    torch.compiler.reset()
    with (
        settings.patch({"cpp.cxx": ("/nowhere/g++",), "force_disable_caches": True}),
        pytest.raises(UserError, match=r"act\.compile: .*install a C\+\+ compiler"),
    ):
        plan(CONFIGS["mlp"], compiled=True)


@pytest.mark.usefixtures("puppet")
def test_compiling_a_head_without_a_network_is_rejected(
    cli: Callable[..., Any], spec_file: Callable[..., Path]
) -> None:
    found = cli("check", spec_file(act={"compile": True}))
    assert found.returncode == 2
    assert "act.compile: head 'puppet' has no network to compile" in found.stderr


@pytest.mark.usefixtures("puppet")
def test_missing_compiler_is_an_error_before_any_work(
    cli: Callable[..., Any], spec_file: Callable[..., Path]
) -> None:
    spec = spec_file(policy={"head": {"use": "diffusion"}}, act={"compile": True})
    found = cli("check", spec, CXX="/nowhere/g++")
    assert found.returncode == 2
    assert "act.compile: C++ compiler '/nowhere/g++' not found" in found.stderr


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_compiling_is_part_of_the_evaluation_key(
    cli: Callable[..., Any],
    spec_file: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    head = {"use": "diffusion", "mlp": {"width": 16, "blocks": 1}}
    rates = []
    for act in ({}, {"compile": True}):
        done = cli("run", spec_file(policy={"head": head}, act=act), "--root", tmp_path, "--json")
        assert done.returncode == 0, done.stderr
        assert ("policy: compiled in" in done.stderr) == bool(act)
        rates.append(json.loads(done.stdout)["results"]["act"]["rate"])
        assert "act: runs" in done.stderr
        assert ("train: cached" in done.stderr) == bool(act)
    assert rates[0] == rates[1]
    capfd.readouterr()
    _, sessions = load_server(find_run("puppet", tmp_path))
    sessions.close()
    assert "policy: compiled in" in capfd.readouterr().err  # before a client connects
