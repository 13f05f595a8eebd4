"""Compare token formats: relative error, aligner retrieval, bytes per frame and read time.

Demonstrations of the tabletop task are recorded once. For each ``[extract] tokens`` format the
pipeline then extracts features and trains the aligner with the same seeds. The error is the RMS
difference from the full tokens, divided by the RMS of the full tokens; pooled tokens are repeated
over the cells that they cover. Retrieval is measured on at most 1,000 frames of held-out
demonstrations. Read times are the median over alternating rounds that gather random batches of 64
frames.

    python benchmarks/bench_token_formats.py [--episodes 40] [--steps 500] [--seeds 2] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from shared import LIFT_DISTRACTORS

from rgb2act_core.data.dataset import Dataset
from rgb2act_core.features.reader import EpisodeArrays
from rgb2act_core.features.token_codec import bytes_of
from rgb2act_core.pipeline import chain
from rgb2act_core.spec import Spec, Tokens
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.keys import stored_features
from rgb2act_core.stages.run import Run
from rgb2act_core.stages.tasks import dataset_of, open_tasks

FORMATS = {
    "16x16 float16": Tokens(),
    "8x8 float16": Tokens(grid=(8, 8)),
    "4x4 float16": Tokens(grid=(4, 4)),
    "16x16 int8": Tokens(dtype="int8"),
    "8x8 int8": Tokens(grid=(8, 8), dtype="int8"),
}


def base_spec(episodes: int, steps: int) -> Spec:
    spec = read_spec(LIFT_DISTRACTORS)
    return attrs.evolve(
        spec,
        name="token-formats",
        collect=attrs.evolve(spec.collect, episodes=episodes, scenes=10 * episodes),
        align=attrs.evolve(spec.align, steps=steps, holdout=0.2),
        compute=attrs.evolve(spec.compute, threads=1),
    )


def spec_with(spec: Spec, tokens: Tokens, seed: int) -> Spec:
    return attrs.evolve(spec, seed=seed, extract=attrs.evolve(spec.extract, tokens=tokens))


def aligner_metrics(spec: Spec, root: Path) -> dict[str, Any]:
    """Run the pipeline up to the aligner and return its metrics on held-out demonstrations."""
    folder = chain.run_pipeline(spec, root, "align")
    record = json.loads((folder / "run.json").read_text())
    (stage,) = [s for s in record["stages"] if s["stage"] == "align"]
    results = json.loads((root / stage["path"] / "stage.json").read_text())["results"]
    return dict(results["after"])


def upsampled(tokens_BVNC: Any, grid: tuple[int, int], full: tuple[int, int]) -> Any:
    """Return tokens on the full grid: pooled tokens are repeated over the cells they cover."""
    map_BVRSC = np.asarray(tokens_BVNC, np.float32).reshape(*tokens_BVNC.shape[:2], *grid, -1)
    for axis in (0, 1):
        map_BVRSC = map_BVRSC.repeat(full[axis] // grid[axis], axis=2 + axis)
    return map_BVRSC.reshape(*tokens_BVNC.shape[:2], full[0] * full[1], -1)


def errors(run: Run, full: Run, data: Dataset) -> list[float]:
    """Return the relative error of each backbone's tokens in one demonstration."""
    relative, source = [], data.demonstrations[0]
    for choice in run.spec.backbone:
        exact, stored = (
            stored_features(r, [choice])[0].tokens([source]).arrays[0] for r in (full, run)
        )
        grids = [stored_features(r, [choice])[0].grid(source) for r in (full, run)]
        exact_TVNC = np.asarray(exact, np.float32)
        error_TVNC = upsampled(np.array(stored), grids[1], grids[0]) - exact_TVNC
        relative.append(float(np.sqrt(np.square(error_TVNC).mean() / np.square(exact_TVNC).mean())))
    return relative


def read_times(tables: dict[str, EpisodeArrays], rounds: int) -> dict[str, float]:
    """Return the median time to gather a batch of 64 frames, in microseconds per frame."""
    times: dict[str, list[float]] = {name: [] for name in tables}
    for number in range(rounds):
        for name, table in tables.items():
            rows = np.random.default_rng(number).integers(0, len(table), 64)
            start = time.process_time()
            for _ in range(10):
                table.gather(rows)
            times[name].append((time.process_time() - start) / 640 * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=40, help="demonstrations")
    parser.add_argument("--steps", type=int, default=500, help="alignment steps")
    parser.add_argument("--seeds", type=int, default=2, help="number of training seeds")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of reading")
    args = parser.parse_args()
    os.environ["RGB2ACT_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        root, spec = Path(folder), base_spec(args.episodes, args.steps)
        metrics = {
            name: [
                aligner_metrics(spec_with(spec, tokens, seed), root) for seed in range(args.seeds)
            ]
            for name, tokens in FORMATS.items()
        }
        runs = {
            name: Run(spec=spec_with(spec, tokens, 0), root=root)
            for name, tokens in FORMATS.items()
        }
        full = runs["16x16 float16"]
        data = dataset_of(open_tasks(full))
        assert data is not None
        last = spec.backbone[-1]
        tables = {
            name: stored_features(r, [last])[0].tokens(data.demonstrations)
            for name, r in runs.items()
        }
        times = read_times(tables, args.rounds)
        names = ", ".join(choice.component.name for choice in spec.backbone)
        print(f"backbones {names}; bytes and read times of {last.component.name}")
        print("form             bytes/frame  error          retrieval@1    @5     R2     read")
        for name, run in runs.items():
            cameras, _, dim = tables[name].row_shape
            size = bytes_of(run.spec.extract.tokens, cameras, (16, 16), dim)
            relative = " ".join(f"{error:.4f}" for error in errors(run, full, data))
            means = [
                statistics.mean(m[key] for m in metrics[name])
                for key in ("retrieval@1", "retrieval@5", "r2")
            ]
            spread = [m["retrieval@1"] for m in metrics[name]]
            ratio = times[name] / times["16x16 float16"]
            print(
                f"{name:15}  {size:11,}  {relative:13}  {means[0]:.3f}"
                f" ({min(spread):.3f}-{max(spread):.3f})  {means[1]:.3f}  {means[2]:.3f}"
                f"  {times[name]:.0f} us {ratio:.2f} x"
            )


if __name__ == "__main__":
    main()
