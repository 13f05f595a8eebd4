"""Train: the policy head learns joint trajectories from frozen aligned features.

``train_data`` has what it learns from, in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..alignment.aligner import Aligner
from ..alignment.saving import load_aligner
from ..data.action_layout import action_index
from ..data.dataset import Dataset
from ..evaluation.trials import open_trials
from ..features.fingerprint import Fingerprint
from ..features.fingerprint_checks import check_aligner, check_features
from ..features.frames import open_frames, rows_of
from ..interfaces import EnvironmentInfo
from ..policy.conditioning import Features, parts_of
from ..policy.config import PolicyConfig
from ..policy.policy import Policy
from ..policy.samples import SPILLED, Samples, open_samples
from ..policy.saving import save_policy
from ..spec.conditions import ALIGNED, OWN, seen_backbones
from ..store.run import Run
from ..system.devices import device_of
from ..system.progress import say
from ..training.budget import fitted_steps
from ..training.loop import TrainingJob, train_loop
from .act import evaluation_tasks
from .align import new_aligner
from .keys import stored_embeddings, stored_features

BETAS = (0.95, 0.999)
TOKEN_FRAMES = 1000  # that statistics of tokens are taken from


def policy_shape(
    run: Run,
    info: EnvironmentInfo,
    parts: tuple[int, ...],
    tokens: tuple[int, int] | None = None,
    tasks: tuple[str, ...] = (),
) -> PolicyConfig:
    """Return the shape of the policy that fits the spec, the environment and its tasks."""
    policy = run.spec.policy
    by_task = policy.tasks if len(tasks) > 1 else "shared"
    return PolicyConfig(
        condition=policy.condition,
        proprio=policy.proprio,
        parts=parts,
        tokens=tokens,
        states=info.state_names if policy.condition == "oracle" else (),
        cameras=info.cameras,
        image=info.image,
        action_names=info.action_names,
        action_index=action_index(info.action_names, policy),
        horizon=policy.horizon,
        n_obs_steps=policy.n_obs_steps,
        n_action_steps=policy.n_action_steps,
        tasks=tasks,
        by_task=by_task,
        task_width=policy.task_width if by_task == "embedding" else 0,
    )


def train(
    run: Run,
    data: Dataset,
    info: EnvironmentInfo,
    aligner_folder: Path | None,
    folder: Path,
    tensorboard: Path | None,
    title: str = "train",
    budget: float | None = None,
) -> dict[str, Any]:
    """Train a policy in ``folder``; with a budget in CPU seconds the number of steps is fitted."""
    device = device_of(run.spec.compute)
    features = stored_features(run, seen_backbones(run.spec))
    fingerprints = check_features(features, data.sources, device)
    aligner = _aligner(run, data, aligner_folder, device)
    if aligner is not None and aligner_folder is not None:
        check_aligner(aligner_folder, aligner.fingerprints, fingerprints)
    samples = open_samples(run, data, features, info, aligner, device, folder)
    policy = _new_policy(run, info, aligner, samples, fingerprints).to(device)
    job = _job(run, policy, samples, folder, tensorboard, title)
    if budget is not None:
        job = attrs.evolve(job, steps=fitted_steps(job, budget))
    evaluations, closed_loop = evaluation_tasks(run, samples.tasks), run.spec.policy.closed_loop
    backbones = seen_backbones(run.spec)
    with open_trials(evaluations, closed_loop, backbones, folder, title, device) as trials:
        if trials and closed_loop:
            every = closed_loop.every
            job = attrs.evolve(job, attempt=trials.attempt, attempt_every=every)
        trained = train_loop(job)
        best = {"closed_loop": trials.take_best(trained.module)} if trials else {}
    acting = trained.module
    assert isinstance(acting, Policy)
    save_policy(folder, acting, run.spec.policy.head, run.spec.align.fusion, backbones)
    (folder / SPILLED).unlink(missing_ok=True)
    torch.manual_seed(run.spec.seed)
    facts = {
        "steps": job.steps,
        "parameters": sum(p.numel() for p in acting.parameters()),
        "frames": len(samples.rows),
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
    }
    return _nested(_evaluate(samples, acting)) | best | facts


def _aligner(run: Run, data: Dataset, folder: Path | None, device: str) -> Aligner | None:
    condition = run.spec.policy.condition
    if condition in ALIGNED:
        assert folder is not None
        return load_aligner(folder).to(device)
    if condition not in OWN:
        return None
    frames = open_frames(stored_features(run), data.sources, device)
    teacher_FD = torch.from_numpy(stored_embeddings(run).embeddings(data.sources)).to(device)
    train_rows, _, _ = rows_of(data, frames.index, run.spec.align.holdout, run.spec.seed)
    aligner = new_aligner(run, data, frames, teacher_FD, train_rows)
    return aligner.requires_grad_(condition == "end_to_end")


def _new_policy(
    run: Run,
    info: EnvironmentInfo,
    aligner: Aligner | None,
    samples: Samples,
    fingerprints: tuple[Fingerprint, ...],
) -> Policy:
    torch.manual_seed(run.spec.seed)
    width, tokens = samples.features_R.vector.shape[1], samples.features_R.tokens
    parts = parts_of(run.spec.policy.condition, aligner, pooled=width, states=width)
    size = None if tokens is None else (tokens.shape[1], tokens.shape[2])
    shape = policy_shape(run, info, parts, size, samples.tasks)
    policy = Policy(
        shape,
        run.spec.policy.head.build(),
        aligner,
        token_format=run.spec.extract.tokens,
        fingerprints=fingerprints,
    )
    keeps = policy.aligner is not None and samples.frames is not None
    rows = samples.rows
    policy.set_statistics(
        None if keeps else _some(samples.features_R, rows),
        samples.joints_RJ[rows],
        samples.actions_RA[rows],
        run.spec.policy.normalise,
        samples.task_R[torch.from_numpy(rows)],
    )
    _report_unreachable(policy, samples, rows)
    return policy


def _some(features_R: Features, rows: NDArray[np.int64]) -> Features:
    """Return the rows' vectors, and the tokens of some of them: statistics need no more."""
    if features_R.tokens is None:
        return features_R[rows]
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), TOKEN_FRAMES)).astype(np.int64)]
    return Features(vector=features_R.vector[rows], tokens=features_R.tokens[few])


def _report_unreachable(policy: Policy, samples: Samples, rows: NDArray[np.int64]) -> None:
    """Report the share of demonstrated actions that a head that clips cannot reach."""
    if policy.plan_limit is None:
        return
    task_N = samples.task_R[torch.from_numpy(rows)]
    normalised = policy.normalised(samples.actions_RA[rows], task_N)
    beyond = (normalised.abs() > policy.plan_limit + 1e-4).any(1)
    if share := float(beyond.float().mean()):
        say(
            f"train: {share:.1%} of the demonstrated actions are outside of the range to which the"
            f" head clips its plans ({policy.plan_limit:g} times the normalised range)"
        )


def _job(
    run: Run, policy: Policy, samples: Samples, folder: Path, tensorboard: Path | None, title: str
) -> TrainingJob:
    spec = run.spec.policy

    def draw() -> NDArray[np.int64]:
        return samples.rows[samples.some.any(spec.batch_size)]

    def loss() -> tuple[Tensor, Mapping[str, float | Tensor]]:
        rows = draw()
        obs, extra = samples.observe(policy, rows, spec.noise)
        return policy.loss(obs, *samples.plans(rows, spec.horizon)) + extra, {}

    def episodes() -> str:
        return ", ".join(samples.names[i] for i in np.unique(samples.index.episode[draw()]))

    return TrainingJob(
        title=title,
        module=policy,
        loss=loss,
        episodes=episodes,
        evaluate=lambda module: _evaluate(samples, module),
        evaluations=10,
        steps=spec.steps,
        lr=spec.lr,
        betas=BETAS,
        weight_decay=spec.weight_decay,
        warmup=spec.warmup,
        clip=spec.grad_clip,
        ema=spec.ema,
        seed=run.spec.seed,
        folder=folder,
        tensorboard=tensorboard,
        checkpoint_seconds=run.spec.compute.checkpoint_seconds,
    )


def _evaluate(samples: Samples, policy: nn.Module) -> Mapping[str, float]:
    """Return the held-out loss, and the RMSE of sampled plans' executed steps in action units.

    Of several tasks there are those of each besides, as ``action_rmse/NAME``.
    """
    assert isinstance(policy, Policy)
    policy.eval()
    with torch.no_grad():
        obs, _ = samples.observe(policy, samples.held, 0.0)
        actions, mask = samples.plans(samples.held, policy.shape.horizon)
        loss = policy.loss(obs, actions, mask)
        generators = [torch.Generator().manual_seed(i) for i in range(len(obs))]
        executed = slice(0, policy.shape.n_action_steps)
        plans = policy.plans(obs, generators).actions[:, 0]
        wrong, mask = (plans - actions)[:, executed], mask[:, executed]
        found = {"loss": float(loss), "action_rmse": _rms(wrong[mask])}
        for place, name in enumerate(samples.tasks if len(samples.tasks) > 1 else ()):
            own = samples.task_R[torch.from_numpy(samples.held)] == place
            found[f"loss/{name}"] = _loss(samples, policy, samples.held[own.cpu().numpy()])
            found[f"action_rmse/{name}"] = _rms(wrong[own][mask[own]])
    return found


def _loss(samples: Samples, policy: Policy, rows: NDArray[np.int64]) -> float:
    obs, _ = samples.observe(policy, rows, 0.0)
    return float(policy.loss(obs, *samples.plans(rows, policy.shape.horizon)))


def _rms(wrong: Tensor) -> float:
    return math.sqrt(float(wrong.square().mean()))


def _nested(found: Mapping[str, float]) -> dict[str, Any]:
    """Return measures with those of each task below ``tasks``."""
    plain: dict[str, Any] = {what: value for what, value in found.items() if "/" not in what}
    tasks: dict[str, dict[str, float]] = {}
    for what, _, name in (what.partition("/") for what in found if "/" in what):
        tasks.setdefault(name, {})[what] = found[f"{what}/{name}"]
    return plain | ({"tasks": tasks} if tasks else {})
