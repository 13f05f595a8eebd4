"""Align: train an aligner that maps RGB features to the point-cloud teacher's embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from ..alignment import data_checks
from ..alignment.aligner import Aligner
from ..alignment.batches import AlignmentBatches
from ..alignment.building import new_aligner, targets_of
from ..alignment.evaluation import AlignerEvaluator
from ..alignment.inputs import AlignerInputs, AlignmentInputs
from ..alignment.saving import save_aligner
from ..alignment.teacher_space import (
    TeacherStatistics,
    TeacherTransform,
    load_or_compute,
    transform_into,
)
from ..data.dataset import Dataset
from ..data.splits import episode_weights, task_indices
from ..features.fingerprint import Fingerprint
from ..features.fingerprint_checks import check_features
from ..features.frames import load_into_memory, open_frames, split_rows
from ..features.reader import EpisodeArrays, StoredEmbeddings, StoredFeatures
from ..features.token_grids import check_token_count, finest
from ..spec import Align, Spec
from ..spec.requirements import align_of
from ..store.keys import key_of
from ..store.locks import locked
from ..system.devices import device_of
from ..system.progress import say
from ..training.job import Optimization, TrainingJob
from ..training.loop import train_loop
from ..training.metrics_log import Curves
from ..training.ranks import ALONE, Ranks
from ..training.sampler import BatchSampler, Rows
from .keys import stored_embeddings, stored_features
from .run import Run

BETAS = (0.9, 0.999)

MetricsByTask = dict[str, dict[str, float]]


def align(
    run: Run, data: Dataset, folder: Path, curves: Curves | None, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Train an aligner in ``folder`` and return its metrics before and after, and the cost.

    Of several processes, only the first evaluates, writes files and returns results.
    """
    spec, settings = run.spec, align_of(run.spec)
    device = ranks.device or device_of(spec.compute.device, spec.compute.threads)
    features, embeddings = stored_features(run), stored_embeddings(run)
    fingerprints = check_features(features, data.episodes, device)
    inputs = open_inputs(spec, data, features, embeddings, fingerprints, device)
    inputs = attrs.evolve(inputs, frames=load_into_memory(inputs.frames, "align", ranks))
    pooled = [each.pooled(data.episodes) for each in features]
    _check(settings, inputs, features, pooled, embeddings)
    _, held_rows, counts = split_rows(data, inputs.frames.index, settings.holdout, spec.seed)
    _report_holdout(settings.holdout, counts)
    transform = teacher_transform(spec, data, embeddings, inputs)
    aligner = new_aligner(settings, inputs, transform, spec.seed, inputs.groups)
    target_FD = targets_of(aligner, inputs.frames, inputs.teacher_FD)
    evaluator = AlignerEvaluator(
        inputs.frames, target_FD, inputs.train_rows, held_rows, len(data.demonstrations)
    )
    evaluators = _by_task(evaluator, data)
    if ranks.first:
        before, before_by_task = evaluator.evaluate(aligner), _evaluate(evaluators, aligner)
    batches = AlignmentBatches(aligner, settings, inputs, target_FD, spec.seed, ranks)

    def learning_curve(module: Aligner) -> dict[str, float]:
        by_task = _evaluate(evaluators, module, probes=False)
        return evaluator.evaluate(module) | _flat(by_task)

    episode_F = inputs.frames.index.episode
    sampler = frame_sampler(spec, data, inputs.train_rows, episode_F, settings.batch_size)
    batches.check_divisible(sampler.batch_size)
    job = TrainingJob(
        title="align",
        module=aligner,
        sampler=sampler,
        loss=batches.loss,
        prefetch=None if inputs.frames.resident else batches.prefetch,
        describe=batches.describe,
        evaluate=learning_curve,
        evaluations=10,
        folder=folder,
        curves=curves,
        ranks=ranks,
        tf32=settings.precision == "tf32",
        steps=settings.steps,
        optimization=Optimization.of(settings, BETAS),
        seed=spec.seed,
        checkpoint_seconds=spec.compute.checkpoint_seconds,
    )
    trained = train_loop(job)
    if not ranks.first:
        return {}
    save_aligner(folder, trained.module, settings.fusion)
    after = evaluator.evaluate(trained.module)
    after_by_task = _evaluate(evaluators, trained.module)
    return {
        "pooled": evaluator.evaluate_pooled(pooled),
        "before": before,
        "after": after,
        "measured": evaluator.size(),
        "fusion": {label: after[f"weight/{label}"] for label in inputs.labels},
        "episodes": counts,
        "frames_per_second": sampler.batch_size * trained.steps_per_second,
        "waiting": batches.waiting_seconds / max(trained.step_seconds, 1e-9),
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
    } | _before_and_after(before_by_task, after_by_task)


def open_inputs(
    spec: Spec,
    data: Dataset,
    features: Sequence[StoredFeatures],
    embeddings: StoredEmbeddings,
    fingerprints: Sequence[Fingerprint],
    device: str,
) -> AlignmentInputs:
    """Open the stored features of all backbones and the embeddings; tokens are not read yet."""
    inputs = open_features(spec, data, features, fingerprints, device)
    return AlignmentInputs(
        labels=inputs.labels,
        grids=inputs.grids,
        fingerprints=inputs.fingerprints,
        frames=inputs.frames,
        train_rows=inputs.train_rows,
        teacher_FD=torch.from_numpy(embeddings.embeddings(data.episodes)).to(device),
        groups=embeddings.groups(data.episodes) if embeddings.grouped else None,
    )


def open_features(
    spec: Spec,
    data: Dataset,
    features: Sequence[StoredFeatures],
    fingerprints: Sequence[Fingerprint],
    device: str,
) -> AlignerInputs:
    """Open the stored features of all backbones; tokens are not read yet."""
    frames = open_frames(features, data.episodes, device)
    train_rows, _, _ = split_rows(data, frames.index, align_of(spec).holdout, spec.seed)
    return AlignerInputs(
        labels=tuple(each.label for each in features),
        grids=tuple(each.grid(data.episodes[0]) for each in features),
        fingerprints=fingerprints,
        frames=frames,
        train_rows=train_rows,
    )


def teacher_transform(
    spec: Spec, data: Dataset, embeddings: StoredEmbeddings, inputs: AlignmentInputs
) -> TeacherTransform:
    """Return the transform into the spec's teacher space.

    Its statistics are stored next to the embeddings.
    """
    settings = align_of(spec)
    whitened = settings.teacher_space == "whitened"
    split = {"data": data.key, "holdout": settings.holdout, "seed": spec.seed}
    folder = embeddings.folder
    path = folder / f"statistics-{key_of(split | {'covariance': whitened})}.safetensors"

    def compute() -> TeacherStatistics:
        train_FD = inputs.teacher_FD[torch.from_numpy(inputs.train_rows)]
        return TeacherStatistics.of(train_FD, covariance=whitened)

    with locked(folder.with_name(folder.name + ".lock")):
        statistics = load_or_compute(path, compute)
    return transform_into(settings.teacher_space, statistics, settings.floor)


def _check(
    align: Align,
    inputs: AlignmentInputs,
    features: Sequence[StoredFeatures],
    pooled: Sequence[EpisodeArrays],
    embeddings: StoredEmbeddings,
) -> None:
    """Raise UserError if nothing can be learned from the inputs; report features of no use."""
    frames, teacher = inputs.frames, embeddings.label
    check_token_count(align, finest(inputs.grids))
    for each, arrays in zip(features, pooled, strict=True):
        what = f"features of backbone {each.label}"
        data_checks.check_finite(what, arrays.arrays, frames.episodes, each.folder)
    embedding_FD = inputs.teacher_FD.cpu().numpy()
    by_episode = np.split(embedding_FD, frames.index.starts[1:-1])
    data_checks.check_finite(
        f"embeddings of teacher {teacher}", by_episode, frames.episodes, embeddings.folder
    )
    data_checks.check_distinct_embeddings(teacher, embedding_FD, inputs.train_rows)
    cameras = frames.episodes[0].open().cameras
    data_checks.report_constant_features(inputs.labels, frames, inputs.train_rows, cameras)


def _report_holdout(holdout: float, counts: Mapping[str, int]) -> None:
    if not counts["held_out"]:
        say(
            f"align: no episode is held out (holdout = {holdout} of {counts['train']} episodes), so"
            " the metrics are those of training frames"
        )


def frame_sampler(
    spec: Spec, data: Dataset, rows: Rows, episode_F: Rows, batch_size: int
) -> BatchSampler:
    """Return the batches of these rows of F frames, weighted as ``align.task_weights`` states.

    ``episode_F`` is the index of each frame's episode.
    """
    weights_E = episode_weights(align_of(spec).task_weights, data)
    return BatchSampler(
        rows, batch_size, spec.seed, replacement=False, weights=weights_E[episode_F[rows]]
    )


def _by_task(evaluator: AlignerEvaluator, data: Dataset) -> dict[str, AlignerEvaluator]:
    """Return an evaluator for each task, if there are several."""
    task_F = task_indices(data.episodes)[evaluator.frames.index.episode]
    return {
        name: evaluator.restricted_to(np.flatnonzero(task_F == i))
        for i, name in enumerate(data.tasks)
    }


def _evaluate(
    evaluators: Mapping[str, AlignerEvaluator], aligner: Aligner, probes: bool = True
) -> MetricsByTask:
    return {name: each.evaluate(aligner, probes) for name, each in evaluators.items()}


def _flat(by_task: MetricsByTask) -> dict[str, float]:
    """Return metrics named ``METRIC/TASK``."""
    return {
        f"{metric}/{name}": value
        for name, found in by_task.items()
        for metric, value in found.items()
    }


def _before_and_after(before: MetricsByTask, after: MetricsByTask) -> dict[str, Any]:
    tasks = {name: {"before": before[name], "after": after[name]} for name in after}
    return {"tasks": tasks} if tasks else {}
