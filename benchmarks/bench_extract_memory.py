"""Compare extraction on a CPU by the memory of a batch, and with freed memory returned or kept.

"returned" are the C library's own settings. "kept" is what every ``rgb2act`` command sets. Weights
are random, and building the backbone is not measured. Times are CPU time of one torch thread in a
process of its own, medians of alternating rounds.

    python benchmarks/bench_extract_memory.py [--rounds 2] [--quick]

``--quick`` only shows that the script works: it encodes few frames.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import torch
from bench_extract import chosen
from shared import compare, episodes, lift_distractors, timed

from rgb2act_core.features import batch_size
from rgb2act_core.stages.extract import extract_features
from rgb2act_core.stages.keys import stored_features
from rgb2act_core.stages.run import Run
from rgb2act_core.system.memory import reuse_freed_memory

RANDOM = {"weights": "random"}
BACKBONES = {
    "patchstats": {},
    "randconv": {},
    "timm": {**RANDOM, "model": "tf_efficientnet_lite0", "layer": "stride8", "scale": 2},
    "croco": {**RANDOM, "variant": "v2-base"},
}
WORK = (  # backbone, pixels, frames
    ("patchstats", 64, 256),
    ("patchstats", 256, 64),
    ("randconv", 64, 256),
    ("randconv", 256, 64),
    ("timm", 64, 128),
    ("timm", 256, 24),
    ("croco", 224, 8),
)
CANDIDATES = {  # MiB of a batch, and whether freed memory is kept
    "up to 1 GiB, returned": (1024, False),
    "up to 128 MiB, returned": (128, False),
    "up to 1 GiB, kept": (1024, True),
    "up to 256 MiB, kept": (256, True),
    "up to 128 MiB, kept": (128, True),
    "up to 64 MiB, kept": (64, True),
}


def measure(name: str, size: int, frames: int, mebibytes: int, kept: bool) -> float:
    """Return the CPU milliseconds per frame of an extraction, after one that warms up."""
    if kept:
        reuse_freed_memory()
    torch.set_num_threads(1)
    batch_size.THREAD_BYTES = mebibytes << 20
    choice = chosen(name, **BACKBONES[name])
    choice.build()
    with tempfile.TemporaryDirectory() as folder:
        run = lift_distractors(Path(folder))
        data = episodes(run.root / "data", count=2, steps=frames // 2, size=size)

        def extract(number: int) -> None:
            spec = attrs.evolve(run.spec, backbone=(choice,))
            new = Run(spec=spec, root=run.root / str(number))
            extract_features(new, stored_features(new)[0], data)

        extract(0)
        return timed(functools.partial(extract, 1), frames)()


def in_a_process(*arguments: object) -> float:
    command = [sys.executable, __file__, "--measure", json.dumps(arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds")
    parser.add_argument("--quick", action="store_true", help="encode few frames")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(measure(*json.loads(args.measure)))
        return
    for name, size, frames in WORK[:1] if args.quick else WORK:
        count = 8 if args.quick else frames
        candidates = list(CANDIDATES.items())[: 2 if args.quick else None]
        work = {
            title: functools.partial(in_a_process, name, size, count, *candidate)
            for title, candidate in candidates
        }
        compare(f"{name}, two cameras of {size} pixels", "ms/frame", work, args.rounds)


if __name__ == "__main__":
    main()
