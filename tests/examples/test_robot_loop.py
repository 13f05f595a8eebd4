"""The control loop of the examples: interpolation, the limit of steps, and a server that dies."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rgb2act_client import ServerError

PATH = Path(__file__).parents[2] / "examples/robot_loop.py"
JOINTS = np.zeros(2, np.float32)
RGB = np.zeros((1, 4, 4, 3), np.uint8)


class Policy:
    """A policy of two joints whose server dies after some plans."""

    tasks = ("reach",)
    late = True

    def __init__(self, targets: list[float], plans: int = 10) -> None:
        self.targets, self.plans = targets, plans
        self.resets: list[int] = []
        self.deadlines: list[float] = []

    def reset(self, seed: int, task: str | None) -> None:
        self.resets.append(seed)

    def observe(self, rgb: Any, joints: Any) -> None:
        pass

    def act(self, deadline_ms: float) -> Any:
        self.deadlines.append(deadline_ms)
        if len(self.deadlines) > self.plans:
            raise ServerError("policy server: connection lost")
        return np.tile(np.float32(self.targets)[:, None], (1, 2))


def controller(policy: Policy, **options: float) -> Any:
    spec = importlib.util.spec_from_file_location("robot_loop", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = {"hz": 20.0, "policy_hz": 10.0, "deadline_ms": 35.0, "largest_step": 1.0} | options
    return module.Controller(policy, argparse.Namespace(task="reach", **given))


def commands(loop: Any, count: int, episode: int = 0) -> list[float]:
    return [float(loop.command(episode, RGB, JOINTS)[0]) for _ in range(count)]


def test_actions_are_interpolated_and_plans_made_with_a_deadline() -> None:
    policy = Policy([0.2, 0.4])
    loop = controller(policy)
    assert commands(loop, 5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.3])
    assert (loop.plans, loop.late, policy.deadlines) == (2, 2, [35.0, 35.0])


def test_no_joint_moves_by_more_than_the_largest_step() -> None:
    loop = controller(Policy([1.0]), largest_step=0.125)
    assert commands(loop, 3) == [0.125, 0.25, 0.375]
    assert loop.limited == 3


def test_the_joints_keep_still_after_the_server_died(capsys: pytest.CaptureFixture[str]) -> None:
    loop = controller(Policy([0.2], plans=1))
    assert commands(loop, 5) == pytest.approx([0.1, 0.2, 0.2, 0.2, 0.2])
    assert loop.problem == "policy server: connection lost"
    assert capsys.readouterr().out == "keeping still: policy server: connection lost\n"


def test_a_new_episode_begins_where_the_robot_is() -> None:
    policy = Policy([0.2, 0.4])
    loop = controller(policy)
    commands(loop, 3)
    assert commands(loop, 2, episode=1) == pytest.approx([0.1, 0.2])
    assert policy.resets == [0, 1]
