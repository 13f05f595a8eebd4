"""Replay the expert's recorded joints through ``take_action``, to check order and timing.

Nothing is rendered. Seeds are those of RoboTwin's evaluation, from 100,000 upwards, without those
on which the expert fails.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rgb2act_robotwin.config import Robotwin
from rgb2act_robotwin.simulator.simulator import WIDTH, settings
from rgb2act_robotwin.simulator.worker_client import Worker

from rgb2act_core import progress_bar, say

FIRST_SEED = 100_000


def replay(config: Robotwin, seeds: int, strides: tuple[int, ...]) -> dict[str, Any]:
    """Return successes and seconds per stride, on ``seeds`` seeds that the expert solves."""
    worker, wait = Worker(config), config.episode_seconds
    blind = settings(config) | {"cameras": []}
    root = None if config.root is None else str(config.root)
    worker.ask("start", wait, lambda r: r, task=config.task, root=root, settings=blind)
    wins, spent = dict.fromkeys(strides, 0), dict.fromkeys(strides, 0.0)
    accepted: list[int] = []
    rejected: dict[int, str] = {}
    try:
        with progress_bar("replay", seeds, "seeds") as advance:
            while len(accepted) < seeds:
                seed = FIRST_SEED + len(accepted) + len(rejected)
                recorded = worker.ask("record", wait, lambda r: r, seed=seed)
                if not recorded.flag("accepted"):
                    rejected[seed] = recorded.text("reason")
                    continue
                joints_TA = np.stack(
                    [joints(worker, wait, index) for index in range(recorded.count("frames"))]
                )
                for stride in strides:
                    began = time.monotonic()
                    wins[stride] += play(worker, wait, seed, joints_TA, stride)
                    spent[stride] += time.monotonic() - began
                accepted.append(seed)
                advance(**{f"stride_{stride}": wins[stride] for stride in strides})
    finally:
        worker.close()
    say(f"replay: {wins} of {seeds}")
    return {
        "seeds": accepted,
        "rejected": rejected,
        "successes": {str(stride): wins[stride] for stride in strides},
        "seconds": {str(stride): spent[stride] / seeds for stride in strides},
    }


def joints(worker: Worker, wait: float, index: int) -> np.ndarray[Any, Any]:
    """Return the joints of one recorded frame."""
    return worker.ask(
        "frame",
        wait,
        lambda r: r.part("observation").array("joints", "float64", (WIDTH,)),
        index=index,
    )


def play(
    worker: Worker, wait: float, seed: int, joints_TA: np.ndarray[Any, Any], stride: int
) -> bool:
    """Return whether every stride-th joint vector and the last one solve the scene."""
    worker.ask("begin", wait, lambda r: r, seed=seed, instruction_seed=seed, observe=False)
    done = success = False
    for index in [*range(stride, len(joints_TA) - 1, stride), len(joints_TA) - 1]:
        if not done:
            reply = worker.ask("step", wait, lambda r: r, action=joints_TA[index], observe=False)
            done, success = reply.flag("done"), reply.flag("success")
    worker.ask("end", wait, lambda r: r)
    return success
