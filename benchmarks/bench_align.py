"""Compare a training step of alignment with the bare forward and backward pass.

The bare step is the minimum: forward, the two losses and backward of the same aligner on one batch
in memory, as float32. The plain loop adds gradient clipping and AdamW. The stage's training loop
also seeds every step, gathers random frames from the store, checks for non-finite values, and
writes learning curves. Times are CPU time of one thread, the median of alternating rounds.

    python benchmarks/bench_align.py [--rounds 3] [--steps 15]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from shared import compare, episodes, lift_distractors, timed
from torch import Tensor, nn

from rgb2act_core.alignment import losses
from rgb2act_core.alignment.aligner import Aligner
from rgb2act_core.alignment.batches import AlignmentBatches
from rgb2act_core.alignment.building import new_aligner
from rgb2act_core.alignment.inputs import AlignmentInputs
from rgb2act_core.data.dataset import Dataset
from rgb2act_core.stages.align import BETAS, open_inputs, teacher_transform
from rgb2act_core.stages.extract import extract_embeddings, extract_features
from rgb2act_core.stages.keys import stored_embeddings, stored_features
from rgb2act_core.stages.run import Run
from rgb2act_core.training.job import Optimization, TrainingJob
from rgb2act_core.training.loop import train_loop
from rgb2act_core.training.sampler import BatchSampler

OPTIMIZATION = Optimization(
    lr=1e-9, betas=BETAS, weight_decay=0.0, warmup=0, grad_clip=1.0, ema=0.0
)


def stage_loop(
    run: Run, aligner: Aligner, inputs: AlignmentInputs, target_FD: Tensor, steps: int
) -> Callable[[], object]:
    align, numbers = run.spec.align, itertools.count()
    batches = AlignmentBatches(aligner, align, inputs, target_FD, seed=0)
    sampler = BatchSampler(inputs.train_rows, align.batch_size, 0, replacement=False)

    def loop() -> None:
        folder = run.root / f"{align.pool}-{next(numbers)}"
        folder.mkdir()
        train_loop(
            TrainingJob(
                title="align",
                module=aligner,
                sampler=sampler,
                loss=batches.loss,
                describe=batches.describe,
                evaluate=lambda module: {},
                evaluations=1,
                steps=steps,
                optimization=OPTIMIZATION,
                seed=0,
                folder=folder,
                curves=None,
                checkpoint_seconds=1e9,
            )
        )

    return loop


def one_batch(inputs: AlignmentInputs, size: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return tokens of a batch, its rows, and which of its frames are excluded as negatives."""
    frames = inputs.frames
    rows = np.random.default_rng(0).choice(len(inputs.train_rows), size, replace=False)
    tokens = [part.float() for part in frames.gather(rows)]
    step, episode = (torch.from_numpy(a[rows]) for a in (frames.index.step, frames.index.episode))
    return tokens, torch.from_numpy(rows), losses.near_in_time(episode, step, episode, step, 2)


def bench(run: Run, data: Dataset, rounds: int, steps: int) -> None:
    align, embeddings = run.spec.align, stored_embeddings(run)
    inputs = open_inputs(run.spec, data, stored_features(run), embeddings, (), "cpu")
    inputs = attrs.evolve(inputs, train_rows=np.arange(len(inputs.teacher_FD)))
    transform = teacher_transform(run.spec, data, embeddings, inputs)
    aligner = new_aligner(align, inputs, transform, seed=0, groups=inputs.groups)
    target_FD = aligner.teacher_space(inputs.teacher_FD)
    tokens, rows, excluded_BB = one_batch(inputs, align.batch_size)
    weights, target_BD = align.loss, target_FD[rows]
    optimizer = torch.optim.AdamW(aligner.parameters(), 1e-9, BETAS, fused=True)

    def bare() -> None:
        out = aligner(tokens)
        loss = weights.mse * F.mse_loss(out.embedding, target_BD) + out.fusion_loss
        loss += weights.infonce * losses.infonce(
            out.embedding, target_BD, weights.temperature, excluded_BB.__getitem__
        )
        loss.backward()

    def plain() -> None:
        optimizer.zero_grad()
        bare()
        nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
        optimizer.step()

    loop = stage_loop(run, aligner, inputs, target_FD, steps)
    work = {
        "bare forward and backward": timed(lambda: [bare() for _ in range(steps)], steps),
        "plain loop with clipping and AdamW": timed(lambda: [plain() for _ in range(steps)], steps),
        "the stage's loop": timed(loop, steps),
    }
    title = f"pool = {align.pool!r}, batch {align.batch_size}"
    compare(f"Alignment step, {title}", "ms", work, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    parser.add_argument("--steps", type=int, default=15, help="steps per round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        run = lift_distractors(Path(name))
        data = episodes(run.root / "episodes", count=10, steps=30, size=64)
        for features in stored_features(run):
            extract_features(run, features, data)
        extract_embeddings(run, stored_embeddings(run), data)
        for pool in ("keypoints", "mean"):
            align = attrs.evolve(run.spec.align, pool=pool)
            spec = attrs.evolve(run.spec, align=align)
            bench(Run(spec=spec, root=run.root), data, options.rounds, options.steps)


if __name__ == "__main__":
    main()
