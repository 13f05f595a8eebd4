"""Train: the policy head learns joint trajectories from what the condition observes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from ..alignment.aligner import Aligner
from ..alignment.building import new_aligner
from ..alignment.sampled_cells import cells_of_step
from ..alignment.saving import load_aligner
from ..alignment.teacher_space import identity_transform
from ..data.action_layout import action_index
from ..data.dataset import Dataset
from ..data.splits import evenly_spaced
from ..distillation.saving import load_student
from ..evaluation.episode_metrics import JOINTS, demonstrated_jump
from ..evaluation.trials import open_trials
from ..features.fingerprint import Fingerprint
from ..features.fingerprint_checks import check_aligner
from ..features.token_grids import TokenSample, check_token_count, finest
from ..features.token_room import SPILLED
from ..interfaces import EnvironmentInfo
from ..policy.aligned_features import compute_features
from ..policy.conditioning import Features, FrameEncoder, token_size
from ..policy.config import PolicyConfig
from ..policy.dividing import shared_loss
from ..policy.policy import Policy
from ..policy.samples import Samples, open_samples
from ..policy.saving import save_policy
from ..spec import PolicySpec, Spec
from ..spec.requirements import align_of, policy_backbones, policy_teacher
from ..system.devices import device_of
from ..system.progress import say
from ..training.budget import steps_within
from ..training.job import Optimization, TrainingJob
from ..training.loop import train_loop
from ..training.metrics_log import Curves
from ..training.precision import bfloat16
from ..training.ranks import ALONE, Ranks
from ..training.sampler import Rows
from .act import evaluation_tasks
from .align import open_features
from .keys import observed_features, stored_embeddings, stored_features
from .observed import observed_fingerprints
from .run import Run

BETAS = (0.95, 0.999)
TOKEN_FRAMES = 1000  # largest number of frames for the statistics of tokens
# teacher_r2 below which training on the teacher is reported: policies worked at 0.97, not at 0.80
FAR_R2 = 0.9
MANY_PASSES = 200  # passes over the training frames above which they are reported


def policy_config(
    policy: PolicySpec,
    info: EnvironmentInfo,
    parts: tuple[int, ...],
    tokens: tuple[int, int] | None = None,
    tasks: tuple[str, ...] = (),
    jump: float = JOINTS.jump,
) -> PolicyConfig:
    """Return the configuration of the policy for the spec, the environment and its tasks."""
    by_task = policy.tasks if len(tasks) > 1 else "shared"
    return PolicyConfig(
        condition=policy.condition,
        proprio=policy.proprio,
        parts=parts,
        tokens=tokens,
        states=info.state_names if policy.observes.state else (),
        cameras=info.cameras,
        image=info.image,
        action_names=info.action_names,
        action_index=action_index(info.action_names, policy),
        horizon=policy.horizon,
        n_obs_steps=policy.n_obs_steps,
        n_action_steps=policy.n_action_steps,
        history_stride=policy.history_stride,
        tasks=tasks,
        by_task=by_task,
        task_width=policy.task_width if by_task == "embedding" else 0,
        jump=jump,
        image_encoding=info.image_encoding,
    )


def train(
    run: Run,
    data: Dataset,
    info: EnvironmentInfo,
    aligner_folder: Path | None,
    folder: Path,
    curves: Curves | None,
    title: str = "train",
    budget: float | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train a policy in ``folder`` and return its metrics and the cost.

    ``aligner_folder`` is that of the student for a policy that is trained on a student.
    ``budget`` limits the CPU seconds of training by a single process; the number of steps follows
    from it. Of several processes, only the first evaluates, writes files and returns results.
    """
    device = ranks.device or device_of(run.spec.compute.device, run.spec.compute.threads)
    backbones = policy_backbones(run.spec)
    features = observed_features(run)
    fingerprints = observed_fingerprints(features, data, device)
    aligner = _aligner(run, data, aligner_folder, fingerprints, device)
    on_teacher = run.spec.policy.trains_on_teacher
    embeddings = stored_embeddings(run) if on_teacher or policy_teacher(run.spec) else None
    samples = open_samples(
        run.spec, data, features, embeddings, info, aligner, device, folder, ranks
    )
    ranks.check_batch("policy.batch_size", samples.sampler.batch_size)
    jump = demonstrated_jump(data, info, run.spec.policy)
    policy = _new_policy(run, info, aligner, samples, fingerprints, jump, folder, ranks)
    policy = policy.to(device)
    job = _job(run, policy, samples, folder, curves, title, ranks)
    if not ranks.first:
        train_loop(job)
        return {}
    _report_distance(title, samples)
    if budget is not None:
        job = attrs.evolve(job, steps=steps_within(job, budget))
    elif not run.spec.policy.observes.trains_aligner:
        _report_passes(title, job.steps, samples)
    tasks, closed_loop = evaluation_tasks(run, samples.tasks), run.spec.policy.closed_loop
    teacher = policy_teacher(run.spec)
    with open_trials(tasks, closed_loop, backbones, teacher, folder, title, device) as trials:
        if trials and closed_loop:
            every = closed_loop.every
            job = attrs.evolve(job, attempt=trials.attempt, attempt_every=every)
        trained = train_loop(job)
        best = {"closed_loop": trials.take_best(trained.module)} if trials else {}
    fusion = run.spec.align.fusion if run.spec.align else None
    student = run.spec.distill.student if run.spec.distill else None
    save_policy(folder, trained.module, run.spec.policy.head, fusion, backbones, student)
    (folder / SPILLED).unlink(missing_ok=True)
    torch.manual_seed(run.spec.seed)
    cost = {
        "steps": job.steps,
        "parameters": sum(p.numel() for p in trained.module.parameters()),
        "frames": len(samples.rows),
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
    }
    distance = {} if samples.teacher_r2 is None else {"teacher_r2": samples.teacher_r2}
    return _nested(_evaluate(samples, trained.module)) | distance | best | cost


def _aligner(
    run: Run,
    data: Dataset,
    folder: Path | None,
    fingerprints: tuple[Fingerprint, ...],
    device: str,
) -> FrameEncoder | None:
    """Return the aligner or student that the policy begins with, or None without one."""
    condition = run.spec.policy.observes
    if run.spec.policy.encoder == "student":
        assert folder is not None
        return load_student(folder).to(device)
    if condition.needs_alignment:
        assert folder is not None
        aligner = load_aligner(folder).to(device)
        check_aligner(folder, aligner.fingerprints, fingerprints)
        return aligner.requires_grad_(condition.trains_aligner)
    if condition.aligner is None:
        return None
    spec = run.spec
    inputs = open_features(spec, data, stored_features(run), fingerprints, device)
    if condition.trains_aligner:
        check_token_count(align_of(spec), finest(inputs.grids))
    transform = identity_transform(embedding_width(spec))
    aligner = new_aligner(align_of(spec), inputs, transform, spec.seed)
    return aligner.requires_grad_(condition.trains_aligner)


def embedding_width(spec: Spec) -> int:
    """Return the width of the embedding of an aligner that is not trained on the teacher.

    With a teacher, it is the teacher's, so that the network is the same as that of a trained
    aligner.
    """
    if spec.teacher is None:
        return align_of(spec).embedding_dim
    return int(spec.teacher.build().info.dim)


def _new_policy(
    run: Run,
    info: EnvironmentInfo,
    aligner: FrameEncoder | None,
    samples: Samples,
    fingerprints: tuple[Fingerprint, ...],
    jump: float,
    folder: Path,
    ranks: Ranks,
) -> Policy:
    """Return an untrained policy with the statistics of the training frames."""
    torch.manual_seed(run.spec.seed)
    size = token_size(run.spec.policy.observes, aligner)
    config = policy_config(run.spec.policy, info, samples.parts, size, samples.tasks, jump)
    policy = Policy(
        config,
        run.spec.policy.head.build(),
        aligner,
        capabilities=run.spec.policy.head.component.capabilities,
        token_format=run.spec.extract.tokens,
        fingerprints=fingerprints,
    )
    # what the teacher's space has standardised is not amplified again
    scaled = isinstance(aligner, Aligner) and aligner.config.teacher_space == "standardised"
    rows = samples.rows
    policy.set_statistics(
        _statistics_sample(policy, samples, folder, ranks),
        samples.joints_RJ[rows],
        samples.actions_RA[rows],
        run.spec.policy.normalise,
        samples.task_R[torch.from_numpy(rows)],
        embedding_floor=1.0 if scaled and run.spec.policy.trains_on_teacher else 0.0,
    )
    _report_unreachable(policy, samples, rows)
    return policy


def _statistics_sample(
    policy: Policy, samples: Samples, folder: Path, ranks: Ranks
) -> Features | None:
    """Return the vectors of all rows, and the tokens of at most TOKEN_FRAMES of them.

    Those of an aligner that is trained further are the ones it begins with. None if features are
    not standardised.
    """
    if not policy.condition.standardised:
        return None
    features_R, rows = samples.features_R, samples.rows
    if samples.frames is not None:
        assert policy.aligner is not None
        state_RS = features_R.vector
        features_R = compute_features(
            policy.condition, policy.aligner, samples.frames, state_RS, folder, ranks
        )
    if features_R.tokens is None:
        return features_R[rows]
    at = evenly_spaced(len(rows), TOKEN_FRAMES)
    return Features(vector=features_R.vector[rows], tokens=features_R.tokens[rows[at]])


def _report_unreachable(policy: Policy, samples: Samples, rows: Rows) -> None:
    """Report how many demonstrated actions are beyond the range to which the head clips."""
    if policy.plan_limit is None:
        return
    task_N = samples.task_R[torch.from_numpy(rows)]
    normalised = policy.normalised(samples.actions_RA[rows], task_N)
    outside = (normalised.abs() > policy.plan_limit + 1e-4).any(1)
    if share := float(outside.float().mean()):
        say(
            f"train: {share:.1%} of the demonstrated actions are outside of the range to which the"
            f" head clips its plans ({policy.plan_limit:g} times the normalised range)"
        )


def _report_distance(title: str, samples: Samples) -> None:
    """Report an aligner that is too far from the teacher for a head that is trained on it."""
    if samples.teacher_r2 is not None and samples.teacher_r2 < FAR_R2:
        say(
            f"{title}: policy.train_on = 'teacher', but the aligner explains only"
            f" {max(0.0, samples.teacher_r2):.0%} of the variance of the teacher's embeddings in"
            " these demonstrations, and the policy acts with the aligner's; if it fails, set"
            " policy.train_on = 'aligner', or train the aligner longer or on this task too"
        )


def _report_passes(title: str, steps: int, samples: Samples) -> None:
    """Report training that draws each training frame so often that a head may overfit to it."""
    batch, count = samples.sampler.batch_size, len(samples.rows)
    passes = steps * batch / count
    if passes > MANY_PASSES:
        say(
            f"{title}: {steps:,} steps of {batch} samples draw each of the {count:,} training"
            f" frames {passes:.0f} times on average; if the policy succeeds too seldom, try fewer"
            " policy.steps or a smaller policy.batch_size"
        )


def _job(
    run: Run,
    policy: Policy,
    samples: Samples,
    folder: Path,
    curves: Curves | None,
    title: str,
    ranks: Ranks,
) -> TrainingJob[Policy]:
    spec = run.spec.policy

    def loss(rows: Rows, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        with bfloat16(spec.precision == "bfloat16", samples.actions_RA.device):
            cells = _cells(run.spec, policy, step)
            if not ranks.alone:
                return shared_loss(policy, samples, rows, spec.noise, ranks, cells), {}
            obs, extra = samples.observe(policy, rows, spec.noise, cells)
            chunks = samples.plans(rows, spec.horizon)
            return policy.loss(obs, chunks.actions, chunks.trained) + extra, {}

    return TrainingJob(
        title=title,
        module=policy,
        sampler=samples.sampler,
        loss=loss,
        describe=samples.describe,
        evaluate=lambda module: _evaluate(samples, module),
        evaluations=10,
        steps=spec.steps,
        optimization=Optimization.of(spec, BETAS),
        seed=run.spec.seed,
        folder=folder,
        curves=curves,
        ranks=ranks,
        tf32=spec.precision == "tf32",
        checkpoint_seconds=run.spec.compute.checkpoint_seconds,
    )


def _cells(spec: Spec, policy: Policy, step: int) -> TokenSample | None:
    """Return the grid cells that a step of an aligner which is trained with the head uses."""
    if not policy.condition.trains_aligner:
        return None
    assert isinstance(policy.aligner, Aligner)
    return cells_of_step(policy.aligner, align_of(spec), spec.seed, step)


@torch.no_grad()
def _evaluate(samples: Samples, policy: Policy) -> dict[str, float]:
    """Return the held-out loss, and the RMSE of the executed steps of plans in action units.

    The loss covers the steps that are trained on, the RMSE those within the episodes, so that
    its values compare between settings of ``after_end``.
    With several tasks there are also those of each, as ``loss/TASK`` and ``action_rmse/TASK``.
    """
    policy.eval()
    obs, _ = samples.observe(policy, samples.held, 0.0)
    chunks = samples.plans(samples.held, policy.config.horizon)
    loss = policy.loss(obs, chunks.actions, chunks.trained)
    generators = [torch.Generator().manual_seed(i) for i in range(len(obs))]
    executed = slice(0, policy.config.n_action_steps)
    plans = policy.plans(obs, generators).actions[:, 0]
    error, mask = (plans - chunks.actions)[:, executed], chunks.demonstrated[:, executed]
    found = {"loss": float(loss), "action_rmse": _rms(error[mask])}
    for index, name in enumerate(samples.tasks if len(samples.tasks) > 1 else ()):
        own = samples.task_R[torch.from_numpy(samples.held)] == index
        found[f"loss/{name}"] = _loss(samples, policy, samples.held[own.numpy()])
        found[f"action_rmse/{name}"] = _rms(error[own][mask[own]])
    return found


def _loss(samples: Samples, policy: Policy, rows: Rows) -> float:
    obs, _ = samples.observe(policy, rows, 0.0)
    chunks = samples.plans(rows, policy.config.horizon)
    return float(policy.loss(obs, chunks.actions, chunks.trained))


def _rms(error: Tensor) -> float:
    return math.sqrt(float(error.square().mean()))


def _nested(found: Mapping[str, float]) -> dict[str, Any]:
    """Return the metrics with those of each task in a table ``tasks``."""
    overall: dict[str, Any] = {name: value for name, value in found.items() if "/" not in name}
    tasks: dict[str, dict[str, float]] = {}
    for name, value in found.items():
        metric, separator, task = name.partition("/")
        if separator:
            tasks.setdefault(task, {})[metric] = value
    return overall | ({"tasks": tasks} if tasks else {})
