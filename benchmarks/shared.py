"""Helpers shared by the benchmarks: a run of an example, random episodes, and timing in rounds.

Shapes: T = steps, V = cameras, P = points, A = action dims
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import numpy as np

from rgb2act_core.data.dataset import Dataset, stored_episode
from rgb2act_core.data.episode_store import write_episode
from rgb2act_core.interfaces import Episode, PointCloud
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.run import Run

LIFT_DISTRACTORS = Path(__file__).parents[1] / "examples" / "lift_distractors.toml"
CAMERAS, POINTS, ACTIONS = ("head", "top"), 600, 14


def lift_distractors(root: Path) -> Run:
    """Return a single-threaded run of ``lift_distractors.toml``; progress output is turned off."""
    os.environ["RGB2ACT_QUIET"] = "1"
    spec = read_spec(LIFT_DISTRACTORS)
    return Run(spec=attrs.evolve(spec, compute=attrs.evolve(spec.compute, threads=1)), root=root)


def episodes(folder: Path, count: int, steps: int, size: int) -> Dataset:
    """Write episodes of random pixels, points and joints to disk and return the data set."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = f"episode_{number:03d}"
        write_episode(folder / name, _episode(rng, name, steps, size), extra={})
    paths = sorted(path for path in folder.iterdir() if path.is_dir())
    return Dataset(demonstrations=tuple(stored_episode(path) for path in paths))


def _episode(rng: np.random.Generator, name: str, steps: int, size: int) -> Episode:
    joints_TA = rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32)
    clouds = [
        PointCloud(
            xyz=rng.uniform(0, 1, (POINTS, 3)).astype(np.float32),
            rgb=rng.integers(0, 256, (POINTS, 3), np.uint8),
        )
        for _ in range(steps)
    ]
    return Episode(
        name=name,
        task="none",
        instruction="none",
        cameras=CAMERAS,
        rgb=rng.integers(0, 256, (steps, len(CAMERAS), size, size, 3), np.uint8),
        joints=joints_TA,
        actions=joints_TA,
        clouds=clouds,
    )


def compare(title: str, unit: str, work: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """Print the median cost of each candidate and its ratio to that of the first candidate.

    Candidates alternate within each round, so changes in machine load affect all of them. The
    first round is a warm-up and is not counted.
    """
    costs_of: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, measure in work.items():
            cost = measure()
            if turn:
                costs_of[name].append(cost)
    base = statistics.median(next(iter(costs_of.values())))
    print(f"\n{title}")
    for name, costs in costs_of.items():
        median, low, high = statistics.median(costs), min(costs), max(costs)
        print(f"  {name:42} {median:9.4g} {unit} {median / base:7.2f} x  ({low:.3g} to {high:.3g})")


def timed(job: Callable[[], object], per: float = 1.0) -> Callable[[], float]:
    """Return a function that runs the job and returns its CPU time in ms divided by ``per``."""

    def cost() -> float:
        start = time.process_time()
        job()
        return 1e3 * (time.process_time() - start) / per

    return cost
