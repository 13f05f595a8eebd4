"""Measure how long the checks of recorded data take, in total and by rule.

The data set has 50 episodes of 400 frames with 14 joints, without images and point clouds.

    python benchmarks/bench_linting.py [--rounds 5] [--episodes 50] [--frames 400]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rgb2act_core.interfaces import EnvironmentInfo, Episode
from rgb2act_core.linting import check_episodes
from rgb2act_core.linting.recordings import recordings_of
from rgb2act_core.linting.rules import CONTENT_RULES, MOTION_RULES, UNIT_RULES

NAMES = tuple(
    f"{side}_{name}"
    for side in ("left", "right")
    for name in (*(f"joint{i}" for i in range(6)), "gripper")
)
INFO = EnvironmentInfo(
    task="bench",
    cameras=("head",),
    image=(1, 1),
    action_names=NAMES,
    control_hz=30.0,
    max_steps=400,
    demonstrates=False,
)


def episode(number: int, frames: int) -> Episode:
    """Return an episode of smooth motions."""
    rng = np.random.default_rng(number)
    seconds = np.arange(frames + 1)[:, None] / 30
    chain_TA = np.sin(rng.uniform(0.2, 1.5, 14) * seconds + rng.uniform(0, 6, 14))
    chain_TA[:, 6::7] = 0.5 + 0.5 * chain_TA[:, 6::7]
    chain_TA = chain_TA.astype(np.float32)
    return Episode(
        name=f"episode_{number}",
        task="bench",
        instruction="",
        cameras=("head",),
        rgb=np.zeros((frames, 1, 1, 1, 3), np.uint8),
        joints=chain_TA[:-1],
        actions=chain_TA[1:],
        clouds=None,
    )


def milliseconds(call: Callable[[], Any], rounds: int) -> float:
    """Return the median CPU time of a call."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--frames", type=int, default=400)
    args = parser.parse_args()
    episodes = [episode(k, args.frames) for k in range(args.episodes)]
    assert check_episodes(episodes, INFO) == []
    total = milliseconds(lambda: check_episodes(episodes, INFO), args.rounds)
    print(f"{args.episodes} episodes of {args.frames} frames: {total:.0f} ms of CPU time")
    data = recordings_of(INFO, episodes, None)
    for rule in (*UNIT_RULES, *MOTION_RULES, *CONTENT_RULES):
        spent = milliseconds(lambda rule=rule: list(rule.find(data)), args.rounds)  # type: ignore[misc]
        print(f"  {rule.name:18} {spent:6.1f} ms  {spent / total:5.1%}")


if __name__ == "__main__":
    main()
