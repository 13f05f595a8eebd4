"""Compare the steps of end-to-end training on all grid positions with those on ``align.tokens``.

examples/lift_distractors.toml with images of 256 pixels, in which a camera has 4,096 positions, and
batches of 32.
Times are CPU time of one torch thread, medians of alternating rounds; recording and extraction are
not measured.

    python benchmarks/bench_end_to_end.py [--rounds 2] [--steps 10]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import tempfile
from pathlib import Path

from shared import LIFT_DISTRACTORS, compare

from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.run_record import read_run
from rgb2act_core.spec.overrides import parse_overrides
from rgb2act_core.spec.reader import read_source
from rgb2act_core.store.stage_id import Stage, StageId

CHANGES = (
    "environment.size=256",
    "collect.episodes=2",
    "collect.scenes=0",
    "policy.condition=end_to_end",
    "policy.batch_size=32",
    "policy.holdout=0",
)


def trained(root: Path, number: int, steps: int, tokens: int) -> float:
    """Return the CPU milliseconds of a training, including its ten evaluations."""
    new = (f"policy.lr={1e-3 * (1 + 1e-6 * number)}", f"policy.steps={steps}")
    changes = (*CHANGES, *new, f"align.tokens={tokens}")
    spec = read_source(LIFT_DISTRACTORS, parse_overrides(("--set", each) for each in changes)).spec
    record = read_run(chain.run_pipeline(spec, root, "train"))
    meta = json.loads((record.stage_folder(StageId(Stage.TRAIN)) / "stage.json").read_text())
    return 1e3 * float(meta["results"]["cpu_seconds"])


def step(root: Path, numbers: itertools.count[int], steps: int, tokens: int) -> float:
    """Return the CPU milliseconds of a step: how much longer a training with more steps takes."""
    short, long = (trained(root, next(numbers), 10 + extra, tokens) for extra in (0, steps))
    return (long - short) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    args = parser.parse_args()
    os.environ["RGB2ACT_QUIET"] = "1"
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as name:
        work = {
            f"align.tokens = {tokens}": functools.partial(
                step, Path(name), numbers, args.steps, tokens
            )
            for tokens in (0, 256)
        }
        compare(
            "a step of end_to_end, 4,096 positions in each of two cameras", "ms", work, args.rounds
        )


if __name__ == "__main__":
    main()
