"""Align: RGB features learn to land where the point-cloud teacher's embedding lands.

Shapes: F = frames, K = frames of a window, D = embedding, as wide as the teacher's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..alignment import data_checks
from ..alignment.aligner import Aligner, AlignerConfig
from ..alignment.batches import AlignmentBatches
from ..alignment.evaluation import AlignerEvaluator
from ..alignment.saving import save_aligner
from ..alignment.teacher_space import Map, Statistics, map_to, measure, stored
from ..data.dataset import Dataset
from ..data.sampling import tasks_of
from ..features.fingerprint_checks import check_features
from ..features.frames import TokenFrames, load_into_memory, open_frames, rows_of
from ..features.reader import EpisodeArrays
from ..features.token_grids import check_token_count, finest
from ..spec.conditions import labels_of
from ..store.files import locked
from ..store.keys import key_of
from ..store.run import Run
from ..system.devices import device_of
from ..system.progress import say
from ..training.loop import TrainingJob, train_loop
from .keys import stored_embeddings, stored_features

STATISTICS_FRAMES = 2000  # frames at most that token statistics are taken from
GROUP_FRAMES = 100  # frames that statistics of the teacher's group tokens are taken from
BETAS = (0.9, 0.999)


def shape_of(run: Run, frames: TokenFrames, teacher_dim: int) -> AlignerConfig:
    """Return the shape of the aligner that fits the spec and the stored features."""
    align = run.spec.align
    return AlignerConfig(
        backbones=labels_of(run.spec.backbone),
        channels=tuple(table.frame[2] for table in frames.tokens),
        grids=tuple(each.grid(frames.sources[0]) for each in stored_features(run)),
        cameras=frames.tokens[0].frame[0],
        teacher_dim=teacher_dim,
        teacher_space=align.teacher_space,
        dim=align.embedding_dim,
        width=align.token_dim,
        pool=align.pool,
        maps=align.keypoint_maps,
        values=align.keypoint_values,
        hidden=align.mlp_dim,
        tau=align.loss.temperature if align.loss.learn_temperature or align.loss.sigmoid else None,
        adapter=align.adapter,
        context=align.context,
        window=align.window if align.sample == "window" else 1,
        stride=align.stride,
        aggregate=align.aggregate,
    )


def new_aligner(
    run: Run,
    data: Dataset,
    frames: TokenFrames,
    teacher_FD: Tensor,
    rows: NDArray[np.int64],
    groups: EpisodeArrays | None = None,
) -> Aligner:
    """Return an untrained aligner with the statistics of the given training rows."""
    torch.manual_seed(run.spec.seed)
    shape = shape_of(run, frames, teacher_FD.shape[1])
    if groups is not None:
        shape = attrs.evolve(shape, groups=groups.frame[1])
    aligner = Aligner(shape, run.spec.align.fusion.build()).to(frames.device)
    some = frames.gather(frames.spread(rows, STATISTICS_FRAMES))
    aligner.set_statistics(some, teacher_map(run, data, teacher_FD, rows))
    if groups is not None and aligner.local is not None:
        few = rows[np.linspace(0, len(rows) - 1, min(len(rows), GROUP_FRAMES)).astype(np.int64)]
        aligner.local.set_statistics(torch.from_numpy(groups.gather(few)).to(frames.device))
    return aligner


def teacher_map(run: Run, data: Dataset, teacher_FD: Tensor, rows: NDArray[np.int64]) -> Map:
    """Return the map into the spec's teacher space, its statistics kept beside the embeddings."""
    align = run.spec.align
    whitened = align.teacher_space == "whitened"
    split = {"data": data.key, "holdout": align.holdout, "seed": run.spec.seed}
    folder = stored_embeddings(run).folder
    place = folder / f"statistics-{key_of(split | {'covariance': whitened})}.safetensors"

    def measured() -> Statistics:
        return measure(teacher_FD[torch.from_numpy(rows)], covariance=whitened)

    with locked(folder.with_name(folder.name + ".lock")):
        statistics = stored(place, measured)
    return map_to(align.teacher_space, statistics, align.teacher_floor)


def targets(aligner: Aligner, frames: TokenFrames, teacher_FD: Tensor) -> Tensor:
    """Return what is aligned with at each row: the mean of the teacher's embeddings of a window."""
    target_FD = aligner.teacher_space(teacher_FD)
    if aligner.shape.window == 1:
        return target_FD
    rows_FK = torch.from_numpy(frames.windows(np.arange(len(target_FD)), aligner.shape))
    total_FD = torch.zeros_like(target_FD)
    for rows_F in rows_FK.unbind(1):  # one age at a time: a window's worth may not fit in memory
        total_FD += target_FD[rows_F]
    return total_FD / aligner.shape.window


def align(run: Run, data: Dataset, folder: Path, tensorboard: Path | None) -> dict[str, Any]:
    """Train an aligner in ``folder`` and return measures before and after, and what it took."""
    device = device_of(run.spec.compute)
    features, embeddings = stored_features(run), stored_embeddings(run)
    fingerprints = check_features(features, data.sources, device)
    frames = load_into_memory(open_frames(features, data.sources, device), "align")
    teacher_FD = torch.from_numpy(embeddings.embeddings(data.sources)).to(device)
    train_rows, held_rows, counts = rows_of(
        data, frames.index, run.spec.align.holdout, run.spec.seed
    )
    pooled = [each.pooled(data.sources) for each in features]
    _look_at(run, frames, pooled, teacher_FD, train_rows, counts)
    groups = embeddings.groups(data.sources) if embeddings.grouped else None
    aligner = new_aligner(run, data, frames, teacher_FD, train_rows, groups)
    target_FD = targets(aligner, frames, teacher_FD)
    probe = AlignerEvaluator(frames, labels_of(run.spec.backbone), target_FD, train_rows, held_rows)
    probes = _probes(probe, data)
    before, before_of = probe.measure(aligner), _each(probes, aligner)
    batch = AlignmentBatches(run, data, frames, target_FD, train_rows, groups)
    trained = train_loop(
        TrainingJob(
            title="align",
            module=aligner,
            loss=lambda: batch.loss(aligner),
            ahead=None if frames.resident else lambda: batch.fetch(aligner),
            episodes=batch.episodes,
            evaluate=lambda module: _curves(probe, probes, module),
            evaluations=10,
            steps=run.spec.align.steps,
            lr=run.spec.align.lr,
            betas=BETAS,
            weight_decay=run.spec.align.weight_decay,
            warmup=run.spec.align.warmup,
            clip=run.spec.align.grad_clip,
            ema=run.spec.align.ema or None,
            seed=run.spec.seed,
            folder=folder,
            tensorboard=tensorboard,
            checkpoint_seconds=run.spec.compute.checkpoint_seconds,
        )
    )
    assert isinstance(trained.module, Aligner)
    aligner = trained.module
    aligner.fingerprints = fingerprints
    save_aligner(folder, aligner, run.spec.align.fusion)
    after = probe.measure(aligner)
    return {
        "pooled": probe.measure_pooled(pooled),
        "before": before,
        "after": after,
        "measured": probe.size(),
        "fusion": {name: after[f"weight/{name}"] for name in labels_of(run.spec.backbone)},
        "episodes": counts,
        "frames_per_second": batch.size * trained.rate,
        "waiting": batch.waited / max(trained.step_seconds, 1e-9),
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
    } | _of_tasks(before_of, _each(probes, aligner))


Measures = dict[str, dict[str, float]]  # by task


def _probes(probe: AlignerEvaluator, data: Dataset) -> dict[str, AlignerEvaluator]:
    """Return a probe of each task, where there are several."""
    task_F = tasks_of(data.sources)[probe.frames.index.episode]
    return {name: probe.only(np.flatnonzero(task_F == i)) for i, name in enumerate(data.tasks)}


def _each(
    probes: Mapping[str, AlignerEvaluator], aligner: nn.Module, states: bool = True
) -> Measures:
    return {name: probe.measure(aligner, states) for name, probe in probes.items()}


def _curves(
    probe: AlignerEvaluator, probes: Mapping[str, AlignerEvaluator], aligner: nn.Module
) -> dict[str, float]:
    """Return what is measured while the aligner learns, over all tasks and of each."""
    of_each = _each(probes, aligner, states=False).items()
    return probe.measure(aligner) | {
        f"{what}/{name}": value for name, found in of_each for what, value in found.items()
    }


def _of_tasks(before: Measures, after: Measures) -> dict[str, Any]:
    tasks = {name: {"before": before[name], "after": after[name]} for name in after}
    return {"tasks": tasks} if tasks else {}


def _look_at(
    run: Run,
    frames: TokenFrames,
    pooled: Sequence[EpisodeArrays],
    teacher_FD: Tensor,
    train_rows: NDArray[np.int64],
    counts: Mapping[str, int],
) -> None:
    """Raise UserError when there is nothing to learn from, and say what is doubtful."""
    features = stored_features(run)
    grids = [each.grid(frames.sources[0]) for each in features]
    check_token_count(run.spec.align, finest(grids))
    data_checks.check_pooled(features, pooled, frames.sources)
    data_checks.check_teacher(stored_embeddings(run), frames, teacher_FD, train_rows)
    cameras = frames.sources[0].open().cameras
    data_checks.report_constant_features(labels_of(run.spec.backbone), frames, train_rows, cameras)
    if not counts["held_out"]:
        say(
            f"align: no episode is held out (holdout = {run.spec.align.holdout} of"
            f" {counts['train']}): measures are of frames that were learned from"
        )
