"""Compare farthest point sampling and grouping with plain NumPy loops, and time the ULIP teacher.

The indices are compared for equality. Times are CPU times: one run of the plain loops, otherwise
the minimum over alternating rounds. The first call, which compiles, is not counted.

    python benchmarks/bench_pointclouds.py [--clouds 3]
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
    rng = np.random.default_rng(0)
    xyz_P3 = rng.normal(size=(count, 3))
    if kind == "table":  # a surface rounded to millimetres, with ties
        xyz_P3 = np.c_[rng.uniform(-0.5, 0.5, (count, 2)), 0.1 * rng.uniform(size=count) ** 4]
        xyz_P3 = xyz_P3.round(3)
    return xyz_P3.astype(np.float32)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and its CPU time in seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def minimum_times(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the minimum CPU time in seconds of each job over alternating rounds."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            times[name].append(timed(run)[1])
    return {name: min(seconds) for name, seconds in times.items()}


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
    fast = minimum_times(
        {
            "sampling": lambda: sampling.farthest_points(xyz_P3, samples),
            "grouping": lambda: sampling.nearest_points(xyz_P3, centres_N3, GROUP),
        },
        rounds=9,
    )
    print(f"\n{kind}: {count:,} points, {samples:,} centres, {GROUP} neighbours")
    for name in slow:
        print(
            f"  {name}: plain loop {slow[name] * 1e3:8.1f} ms, rgb2act {fast[name] * 1e3:6.2f} ms,"
            f" {slow[name] / fast[name]:6.1f} times as fast, indices equal: {equal[name]}"
        )
    both = sum(slow.values()) / sum(fast.values())
    print(f"  both:     {both:6.1f} times as fast", flush=True)


def teacher(clouds: int) -> None:
    from rgb2act_ulip import Ulip, build, preprocess

    built = build(Ulip(weights="random"))
    rng = np.random.default_rng(0)
    inputs = [
        PointCloud(
            xyz=points("table", 10_000), rgb=rng.integers(0, 256, (10_000, 3), dtype=np.uint8)
        )
        for _ in range(clouds)
    ]
    grouping, device = built.config.grouping, torch.device("cpu")
    parts = [preprocess.prepare(cloud, built.config, "bench")[0] for cloud in inputs]
    groups, centres, _ = preprocess.group(parts, grouping, device)

    def network() -> None:
        with torch.no_grad():
            built.network(groups, centres)

    times = minimum_times(
        {
            "total": lambda: built.embed(inputs),
            "network": network,
            "prepare": lambda: [preprocess.prepare(c, built.config, "bench") for c in inputs],
            "group": lambda: preprocess.group(parts, grouping, device),
        },
        rounds=3,
    )
    print(f"\nulip, full size, {clouds} clouds of 10,000 points (CPU time of all threads)")
    for name, seconds in times.items():
        share = seconds / times["total"]
        print(f"  {name:8s} {seconds / clouds * 1e3:8.1f} ms per cloud, {share:6.1%} of the total")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clouds", type=int, default=3, help="clouds per teacher call")
    options = parser.parse_args()
    with_numba = kernels.compiled(kernels.farthest) is not None
    backend = "compiled by numba" if with_numba else "in NumPy: numba is not installed"
    print(f"loops over points are {backend}")
    for kind in ("normal", "table"):
        compare(kind, 10_000, 512)
        compare(kind, 20_000, 2048)
    if importlib.util.find_spec("rgb2act_ulip"):
        teacher(options.clouds)


if __name__ == "__main__":
    main()
