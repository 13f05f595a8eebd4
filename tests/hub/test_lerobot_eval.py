"""``lerobot-eval`` acts with a policy and in an environment of rgb2act.

The slow test needs LeRobot 0.6 in another interpreter, with both distributions, rgb2act and its
plugins installed: ``LEROBOT_PYTHON=/path/to/python pytest -m lerobot tests/hub``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins" / "lerobot"
PYTHON = os.environ.get("LEROBOT_PYTHON")
NAMES = ("lerobot_policy_rgb2act", "lerobot_env_rgb2act")


@pytest.mark.parametrize("name", NAMES)
def test_distribution_has_the_names_by_which_lerobot_finds_it(name: str) -> None:
    project = tomllib.loads((PLUGINS / name / "pyproject.toml").read_text())
    assert project["project"]["name"] == name  # with underscores, also in the wheel's metadata
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [name]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("lerobot_policy_rgb2act/configuration_rgb2act.py", {"Rgb2ActConfig"}),
        ("lerobot_policy_rgb2act/modeling_rgb2act.py", {"Rgb2ActPolicy"}),
        ("lerobot_policy_rgb2act/processor_rgb2act.py", {"make_rgb2act_pre_post_processors"}),
        ("lerobot_env_rgb2act/configuration_rgb2act.py", {"Rgb2ActEnv"}),
    ],
)
def test_modules_define_the_names_that_lerobot_derives(module: str, names: set[str]) -> None:
    package = PLUGINS / module.partition("/")[0]
    tree = ast.parse((package / module).read_text())
    assert names <= {node.name for node in tree.body if hasattr(node, "name")}


@pytest.mark.lerobot
@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="LEROBOT_PYTHON names no interpreter with LeRobot")
def test_lerobot_evaluates_a_pushed_policy(smoke_done: Path, tmp_path: Path) -> None:
    from rgb2act_core.cli import main

    pushed = tmp_path / "pushed"
    assert main(["push", "smoke", str(pushed), "--root", str(smoke_done)]) == 0
    policy = [f"--policy.path={pushed}", "--policy.device=cpu"]
    environment = ["--env.type=rgb2act", "--env.run=smoke", f"--env.root={smoke_done}"]
    size = ["--eval.n_episodes=2", "--eval.batch_size=2", "--eval.use_async_envs=false"]
    output = [f"--output_dir={tmp_path / 'out'}", "--seed=0"]
    subprocess.run(
        [str(PYTHON), "-m", "lerobot.scripts.lerobot_eval", *policy, *environment, *size, *output],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""},
        check=True,
        timeout=280,
    )
    found = json.loads((tmp_path / "out" / "eval_info.json").read_text())
    assert found["overall"]["n_episodes"] == 2
