"""Time farthest point sampling and grouping beside plain numpy loops, and the teacher beside both.

Run: python benchmarks/bench_clouds.py [--clouds 3]
Results are compared index by index. Times are CPU time: of the plain loops once, else the least of
rounds that take turns; the first call, which compiles, is not counted.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rgb2act_core.interfaces import PointCloud
from rgb2act_core.pointclouds import kernels, sampling

GROUP = 32  # points


def plain_farthest(xyz_P3: np.ndarray, count: int) -> np.ndarray:
    near_P = np.full(len(xyz_P3), np.inf, np.float32)
    chosen, last = np.zeros(count, np.int64), 0
    for step in range(count):
        chosen[step] = last
        near_P = np.minimum(near_P, ((xyz_P3 - xyz_P3[last]) ** 2).sum(-1))
        last = int(near_P.argmax())
    return chosen


def plain_nearest(xyz_P3: np.ndarray, queries_Q3: np.ndarray, count: int) -> np.ndarray:
    return np.stack(
        [((xyz_P3 - q_3) ** 2).sum(-1).argsort(kind="stable")[:count] for q_3 in queries_Q3]
    )


def points(kind: str, count: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    xyz_P3 = draw.normal(size=(count, 3))
    if kind == "table":  # a surface in whole millimetres, with ties
        xyz_P3 = np.c_[draw.uniform(-0.5, 0.5, (count, 2)), 0.1 * draw.uniform(size=count) ** 4]
        xyz_P3 = xyz_P3.round(3)
    return xyz_P3.astype(np.float32)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and its CPU seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def least(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return each one's least CPU seconds over rounds that take turns."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            taken[name].append(timed(run)[1])
    return {name: min(times) for name, times in taken.items()}


def compare(kind: str, count: int, samples: int) -> None:
    xyz_P3 = points(kind, count)
    centre_N, sampled = timed(lambda: plain_farthest(xyz_P3, samples))
    centres_N3 = xyz_P3[centre_N]
    near_Nk, grouped = timed(lambda: plain_nearest(xyz_P3, centres_N3, GROUP))
    slow = {"sampling": sampled, "grouping": grouped}
    equal = {
        "sampling": np.array_equal(sampling.farthest_points(xyz_P3, samples), centre_N),
        "grouping": np.array_equal(sampling.nearest_points(xyz_P3, centres_N3, GROUP), near_Nk),
    }
    fast = least(
        {
            "sampling": lambda: sampling.farthest_points(xyz_P3, samples),
            "grouping": lambda: sampling.nearest_points(xyz_P3, centres_N3, GROUP),
        },
        rounds=9,
    )
    print(f"\n{kind}: {count:,} points, {samples:,} centres, {GROUP} neighbours")
    for name in slow:
        print(
            f"  {name}: plain loop {slow[name] * 1e3:8.1f} ms, here {fast[name] * 1e3:6.2f} ms,"
            f" {slow[name] / fast[name]:6.1f} times as fast, indices equal: {equal[name]}"
        )
    both = sum(slow.values()) / sum(fast.values())
    print(f"  both:     {both:6.1f} times as fast", flush=True)


def teacher(clouds: int) -> None:
    from rgb2act_ulip import Ulip, build, preprocess

    built = build(Ulip(weights="random"))
    draw = np.random.default_rng(0)
    given = [
        PointCloud(
            xyz=points("table", 10_000), rgb=draw.integers(0, 256, (10_000, 3), dtype=np.uint8)
        )
        for _ in range(clouds)
    ]
    cut, device = built.config.grouping, torch.device("cpu")
    parts = [preprocess.prepare(cloud, built.config, "bench")[0] for cloud in given]
    groups, centres, _ = preprocess.group(parts, cut, device)

    def bare() -> None:
        with torch.no_grad():
            built.network(groups, centres)

    taken = least(
        {
            "whole": lambda: built.embed(given),
            "bare": bare,
            "prepare": lambda: [preprocess.prepare(c, built.config, "bench") for c in given],
            "group": lambda: preprocess.group(parts, cut, device),
        },
        rounds=3,
    )
    print(f"\nulip, full size, {clouds} clouds of 10,000 points (CPU time of all threads)")
    for name, seconds in taken.items():
        share = seconds / taken["whole"]
        print(f"  {name:8s} {seconds / clouds * 1e3:8.1f} ms a cloud, {share:6.1%} of the whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clouds", type=int, default=3)
    options = parser.parse_args()
    with_numba = kernels.compiled(kernels.farthest) is not None
    print(f"loops over points are {'compiled by numba' if with_numba else 'numpy: no numba here'}")
    for kind in ("normal", "table"):
        compare(kind, 10_000, 512)
        compare(kind, 20_000, 2048)
    if importlib.util.find_spec("rgb2act_ulip"):
        teacher(options.clouds)


if __name__ == "__main__":
    main()
