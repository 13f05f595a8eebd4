"""Compare a step of alignment with the bare module's forward and backward, side by side.

The bare step is what cannot be left out: forward, the two losses and backward of the same aligner
on one batch that lies in memory as float32. The plain loop adds what any trainer needs: clipping
and AdamW. Ours is the stage's own loop, which besides seeds every step, gathers random frames from
the store, checks for numbers that are not finite and writes learning curves. CPU time of one
thread, the median of rounds that take turns.

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
from run_parallel import compare, episodes, quickstart, timed
from torch import Tensor, nn

from rgb2act_core.alignment import losses
from rgb2act_core.alignment.aligner import Aligner
from rgb2act_core.alignment.batches import AlignmentBatches
from rgb2act_core.data.dataset import Dataset
from rgb2act_core.features.frames import TokenFrames, open_frames
from rgb2act_core.stages.align import BETAS, new_aligner
from rgb2act_core.stages.extract import extract_embeddings, extract_features
from rgb2act_core.stages.keys import stored_embeddings, stored_features
from rgb2act_core.store.run import Run
from rgb2act_core.training.loop import TrainingJob, train_loop


def ours(run: Run, aligner: Aligner, batches: AlignmentBatches, steps: int) -> Callable[[], object]:
    fresh = itertools.count()

    def loop() -> None:
        folder = run.root / f"{run.spec.align.pool}-{next(fresh)}"
        folder.mkdir()
        train_loop(
            TrainingJob(
                title="align",
                module=aligner,
                loss=lambda: batches.loss(aligner),
                episodes=batches.episodes,
                evaluate=lambda module: {},
                evaluations=1,
                steps=steps,
                lr=1e-9,
                betas=BETAS,
                weight_decay=0.0,
                warmup=0,
                clip=1.0,
                ema=None,
                seed=0,
                folder=folder,
                tensorboard=None,
                checkpoint_seconds=1e9,
            )
        )

    return loop


def one_batch(
    frames: TokenFrames, target_FD: Tensor, size: int
) -> tuple[list[Tensor], Tensor, Tensor]:
    rows = np.random.default_rng(0).choice(len(target_FD), size, replace=False)
    tokens = [part.float() for part in frames.gather(rows)]
    step, episode = (torch.from_numpy(a[rows]) for a in (frames.index.step, frames.index.episode))
    return (
        tokens,
        target_FD[torch.from_numpy(rows)],
        losses.alike_to(episode, step, episode, step, 2),
    )


def bench(run: Run, data: Dataset, rounds: int, steps: int) -> None:
    frames = open_frames(stored_features(run), data.episodes, "cpu")
    teacher_FD = torch.from_numpy(stored_embeddings(run).embeddings(data.episodes))
    rows = np.arange(len(teacher_FD))
    aligner = new_aligner(run, data, frames, teacher_FD, rows)
    target_FD = aligner.teacher_space(teacher_FD)
    tokens, target_BD, alike_BB = one_batch(frames, target_FD, run.spec.align.batch)
    weights = run.spec.align.loss
    optimizer = torch.optim.AdamW(aligner.parameters(), 1e-9, BETAS, fused=True)

    def bare() -> None:
        out = aligner(tokens)
        loss = weights.mse * F.mse_loss(out.embedding, target_BD) + out.loss
        loss += weights.infonce * losses.infonce(
            out.embedding, target_BD, weights.tau, alike_BB.__getitem__
        )
        loss.backward()

    def plain() -> None:
        optimizer.zero_grad()
        bare()
        nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
        optimizer.step()

    batches = AlignmentBatches(run, data, frames, target_FD, rows)
    work = {
        "bare forward and backward": timed(lambda: [bare() for _ in range(steps)], steps),
        "plain loop with clipping and AdamW": timed(lambda: [plain() for _ in range(steps)], steps),
        "the stage's loop": timed(ours(run, aligner, batches, steps), steps),
    }
    title = f"pool = {run.spec.align.pool!r}, batch {run.spec.align.batch}"
    compare(f"A step of alignment, {title}", "ms", work, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        run = quickstart(Path(name))
        data = episodes(run.root / "episodes", count=10, steps=30, size=64)
        for choice in run.spec.backbone:
            extract_features(run, stored_features(run, [choice])[0], data)
        extract_embeddings(run, stored_embeddings(run), data)
        for pool in ("keypoints", "mean"):
            align = attrs.evolve(run.spec.align, pool=pool)
            spec = attrs.evolve(run.spec, align=align)
            bench(Run(spec=spec, root=run.root), data, options.rounds, options.steps)


if __name__ == "__main__":
    main()
