"""Measure what checking stored data costs: per GB, and as a share of the stages of a run.

Each stage runs in this process with a timer around every comparison of checksums.

    python benchmarks/bench_integrity.py [--spec examples/smoke.toml]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_store import write_store

from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store import tensors
from rgb2act_core.store.group_reader import Stored, read_group

SMOKE = Path(__file__).parents[1] / "examples" / "smoke.toml"
STAGES = ("extract", "align", "train")
TOKENS_TNC = (40, 1369, 1024)


class Spent:
    """CPU seconds spent in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a timer."""

        def timed(*args: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args)
            finally:
                self.seconds += time.process_time() - start

        return timed


def per_gigabyte(folder: Path) -> None:
    """Print the CPU time of copying frames for the first time, when they are checked, and again."""
    tokens = np.random.default_rng(0).standard_normal(TOKENS_TNC, np.float32).astype("f2")
    write_store(folder / "group", tokens)
    for title in ("first, checked", "again"):
        frames = read_group(folder / "group").frames("tokens")
        start = time.process_time()
        for t in range(len(frames)):
            np.array(frames[t])
        seconds = (time.process_time() - start) / (tokens.nbytes / 1e9)
        print(f"copying every frame, {title:15s} {seconds:.3f} s/GB")


def shares(spec_path: Path, root: Path) -> None:
    """Print the share of each stage's CPU time that is spent on checks."""
    spent, spec = Spent(), read_spec(spec_path)
    Stored.compare = spent.around(Stored.compare)  # type: ignore[method-assign]
    tensors._checksum = spent.around(tensors._checksum)
    chain.run_pipeline(spec, root, "collect")
    for stage in STAGES:
        before, start = spent.seconds, time.process_time()
        chain.run_pipeline(spec, root, stage)
        total, checks = time.process_time() - start, spent.seconds - before
        print(f"{stage:8s} {total:7.2f} s of CPU, checks {checks:.4f} s, {checks / total:.2%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, default=SMOKE)
    args = parser.parse_args()
    os.environ["RGB2ACT_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as name:
        per_gigabyte(Path(name))
        shares(args.spec, Path(name) / "runs")


if __name__ == "__main__":
    main()
