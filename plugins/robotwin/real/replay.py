"""Play the expert's recorded joints back through ``take_action``: order, timing, environment.

No pictures are taken. Seeds are those of RoboTwin's evaluation, from 100,000 up; those on which the
expert fails are left out, as its protocol does.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rgb2act_robotwin.config import Robotwin
from rgb2act_robotwin.simulator.simulator import WIDTH, settings
from rgb2act_robotwin.simulator.worker_client import Worker

from rgb2act_core import say, task

FIRST_SEED = 100_000


def replay(config: Robotwin, seeds: int, strides: tuple[int, ...]) -> dict[str, Any]:
    """Return successes and seconds by stride, over so many seeds on which the expert succeeds."""
    worker, wait = Worker(config), config.episode_seconds
    blind = settings(config) | {"cameras": []}
    root = None if config.root is None else str(config.root)
    worker.ask("start", wait, lambda r: r, task=config.task, root=root, settings=blind)
    wins, spent = dict.fromkeys(strides, 0), dict.fromkeys(strides, 0.0)
    tried: list[int] = []
    rejected: dict[int, str] = {}
    try:
        with task("replay", seeds, "seeds") as advance:
            while len(tried) < seeds:
                seed = FIRST_SEED + len(tried) + len(rejected)
                made = worker.ask("record", wait, lambda r: r, seed=seed)
                if not made.flag("accepted"):
                    rejected[seed] = made.text("reason")
                    continue
                joints_TA = np.stack(
                    [joints(worker, wait, index) for index in range(made.count("frames"))]
                )
                for stride in strides:
                    began = time.monotonic()
                    wins[stride] += play(worker, wait, seed, joints_TA, stride)
                    spent[stride] += time.monotonic() - began
                tried.append(seed)
                advance(**{f"stride_{stride}": wins[stride] for stride in strides})
    finally:
        worker.close()
    say(f"replay: {wins} of {seeds}")
    return {
        "seeds": tried,
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
    """Return whether every stride-th joint vector, and the last, solve the scene."""
    worker.ask("begin", wait, lambda r: r, seed=seed, instruction_seed=seed, observe=False)
    done = success = False
    for index in [*range(stride, len(joints_TA) - 1, stride), len(joints_TA) - 1]:
        if not done:
            reply = worker.ask("step", wait, lambda r: r, action=joints_TA[index], observe=False)
            done, success = reply.flag("done"), reply.flag("success")
    worker.ask("end", wait, lambda r: r)
    return success
