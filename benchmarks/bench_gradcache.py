"""Show that gradient caching keeps memory flat as the contrastive batch grows.

Each size runs in a process of its own: the peak of its resident memory over a training step, above
what it held before the step. The plain batch keeps every frame's graph until backward; the cached
one keeps the graph of ``--micro`` frames, of all frames the embeddings, and of the loss one block
of its B x B pairs; the loss is measured by itself too. The C library keeps holes in its heap, so
what a process occupies is more than what it holds: memory is measured with freed arrays given back
at once, and the cached batch also as a process has it by default, which the CPU times are of.

    python benchmarks/bench_gradcache.py [--sizes 64 256 1024 2048 4096] [--micro 64]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rgb2act_core.alignment.aligner import Aligned, Aligner, AlignerConfig
from rgb2act_core.alignment.gradient_cache import gradcache_backward
from rgb2act_core.alignment.losses import alike_to
from rgb2act_core.alignment.objective import LossInputs, objective, outputs
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import AlignLoss

SHAPE = AlignerConfig(
    backbones=("a", "b"),
    channels=(96, 64),
    grids=((8, 8), (8, 8)),
    cameras=2,
    teacher_dim=128,
    teacher_space="standardised",
    dim=64,
    width=64,
    pool="keypoints",
    maps=16,
    values=4,
    hidden=128,
    tau=None,
)
LOSS = AlignLoss(infonce=1.0, mse=1.0)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step(way: str, size: int, micro: int) -> dict[str, float]:
    """Return bytes that a step added to the peak, and its CPU seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weighted = find(Kind.FUSION, "weighted")
    aligner = Aligner(SHAPE, weighted.build(weighted.tiny))

    def embed(rows: np.ndarray) -> tuple[Tensor, ...]:
        # a frame is made when it is looked at, as it would be read: the data are no part of this
        generator = torch.Generator().manual_seed(int(rows[0]))
        shapes = [(len(rows), 2, 64, channels) for channels in SHAPE.channels]
        return outputs(aligner([torch.randn(s, generator=generator) for s in shapes]))

    def embeddings(count: int) -> tuple[Tensor, ...]:
        made = torch.randn(count, SHAPE.teacher_dim, requires_grad=True)
        weights, loss = torch.full((2,), 0.5), torch.zeros(())
        return outputs(Aligned(embedding=made, tokens=made, weights=weights, loss=loss))

    def total(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, dict[str, Tensor]]:
        count = sum(len(part[0]) for part in parts)
        target_BD = torch.randn(count, SHAPE.teacher_dim)
        episode_B, step_B = torch.arange(count) // 16, torch.arange(count) % 16

        def alike(rows: slice) -> Tensor:
            return alike_to(episode_B[rows], step_B[rows], episode_B, step_B, 2)

        return objective(LOSS, parts, LossInputs(target_BD=target_BD, alike=alike), None)

    def work(rows: np.ndarray) -> None:
        if way == "loss":
            total([embeddings(len(rows))])[0].backward()
        elif way == "plain":
            total([embed(rows)])[0].backward()
        else:
            gradcache_backward(np.array_split(rows, -(-len(rows) // micro)), embed, total)

    # what is loaded and allocated once is no part of it
    checkpoint(torch.sum, torch.ones(1, requires_grad=True), use_reentrant=False).backward()
    work(np.arange(2))
    held, began = peak(), time.process_time()
    work(np.arange(size))
    return {"bytes": peak() - held, "seconds": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024, 2048, 4096])
    parser.add_argument("--micro", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many is told")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, size = options.one
        print(json.dumps(step(way, int(size), options.micro)))
        return
    print(f"memory of a step above what the process held, cached in parts of {options.micro}")
    print(
        "   batch  plain, MB  cached, MB             loss alone, MB  with holes, MB"
        "  CPU time, cached to plain"
    )
    for size in options.sizes:
        found = {}
        for holes, ways in ((False, ("plain", "cached", "loss")), (True, ("plain", "cached"))):
            for way in ways:
                runs = [
                    _in_a_process(way, size, options.micro, holes) for _ in range(options.rounds)
                ]
                found[way, holes] = sorted(runs, key=lambda run: run["bytes"])[len(runs) // 2]
        plain, cached, loss = (
            found[way, False]["bytes"] / 1e6 for way in ("plain", "cached", "loss")
        )
        default = found["cached", True]
        ratio = default["seconds"] / found["plain", True]["seconds"]
        print(
            f"  {size:6} {plain:10.1f} {cached:11.1f} {cached / plain:8.2f} x {loss:14.1f}"
            f" {default['bytes'] / 1e6:15.1f} {ratio:7.2f} x",
            flush=True,
        )


def _in_a_process(way: str, size: int, micro: int, holes: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--micro", str(micro), "--one", way, str(size)]
    freed = {} if holes else {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc gives it back at once
    environ = os.environ | freed
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
