"""Checks before anything runs: spec and environment are compatible, and weights load."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from ..data.action_layout import action_index, check_grippers
from ..data.dataset import Dataset
from ..errors import Problems, UserError
from ..evaluation.seeds import named_seeds
from ..features.token_grids import check_token_count
from ..interfaces import EnvironmentInfo, HeadShape, StudentShape
from ..plugins.components import Capability
from ..spec import Spec
from ..spec.conditions import CONDITIONS
from ..spec.requirements import needs_teacher, policy_backbones, stores_aligned
from ..stages.scene_packs import SCENE_SEEDS
from ..store.stage_id import Stage
from ..system.devices import device_of
from .keep_checks import check_keep


def check_compatibility(spec: Spec, info: EnvironmentInfo) -> None:
    """Raise UserError with every setting that is incompatible with the environment or another."""
    problems = Problems()
    for check in REPLAY_CHECKS if spec.act.replay else CHECKS:
        with problems.collected():
            check(spec, info)
    problems.raise_any()


def _check_layout(spec: Spec, info: EnvironmentInfo) -> None:
    action_index(info.action_names, spec.policy)
    check_grippers(info.action_names, spec.policy)


def _check_seeds(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse to evaluate on seeds used for training or for choosing the weights."""
    evaluated: dict[str, Sequence[int]] = {Stage.ACT: named_seeds(spec.act).accepted}
    trained_on: dict[str, range] = {}
    if info.demonstrates:
        first, scenes = spec.collect.start, spec.collect.scenes
        attempts = 2 * spec.collect.episodes  # some fail
        trained_on["demonstrations"] = _seed_range(first, attempts)
        if info.scene_seeds:
            trained_on["scenes"] = _seed_range(first + SCENE_SEEDS, scenes)
    closed_loop = spec.policy.closed_loop
    if closed_loop:
        trials = _seed_range(closed_loop.first_seed, closed_loop.episodes)
        evaluated["policy.closed_loop"] = trials
    for table, seeds in evaluated.items():
        others = dict(trained_on)
        if closed_loop and table == Stage.ACT:
            others["trials of policy.closed_loop"] = trials
        key = "seeds" if spec.act.seeds and table == Stage.ACT else "first_seed"
        for what, known in others.items():
            if shared := [seed for seed in seeds if seed in known]:
                raise UserError(
                    f"{table}.{key}: seed {shared[0]} is also one of the seeds of the {what}, which"
                    f" start at {known.start}; evaluate on seeds that were not trained on"
                )


def _seed_range(first: int, count: int) -> range:
    return range(first, first + count)


def _check_closed_loop(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.policy.closed_loop and not info.acts:
        raise UserError(
            f"policy.closed_loop: {info.task} has recorded episodes only, so a policy cannot act in"
            " it; remove the table"
        )


def _check_condition(spec: Spec, info: EnvironmentInfo) -> None:
    policy_backbones(spec)
    for name in dict.fromkeys((spec.policy.condition, *spec.act.baselines)):
        key = "policy.condition" if name == spec.policy.condition else "act.baselines"
        if CONDITIONS[name].state and not info.state_names:
            raise UserError(
                f"{key}: {name!r} needs an environment that exposes its state; {info.task} does"
                " not; choose another condition, or demonstrations that were recorded with states"
            )
        if CONDITIONS[name].teacher and info.acts:
            _check_cloud_observations(spec, info, key, name)
        if CONDITIONS[name].joints_only and not spec.policy.proprio:
            raise UserError(f"{key}: {name!r} has no input with policy.proprio = false; remove it")


def _check_episode_clouds(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse a spec that needs the teacher if episodes or scenes have no point clouds."""
    if needs_teacher(spec) and not info.clouds:
        raise UserError(
            f"environment: {info.task}: not all episodes and scenes have point clouds, which the"
            " teacher needs; set the source of clouds in [environment], record them, or"
            f" {_without_clouds(spec)}"
        )


def _without_clouds(spec: Spec) -> str:
    """Return what to change in a spec so that it needs no point clouds."""
    if stores_aligned(spec) and spec.policy.trains_on_teacher:
        return "set policy.train_on = 'aligner'"
    return "choose a condition without aligner and teacher"


def _check_cloud_observations(spec: Spec, info: EnvironmentInfo, key: str, name: str) -> None:
    if info.cloud_problem:
        raise UserError(
            f"{key}: {name!r} needs the same point clouds while the policy acts, but"
            f" {info.cloud_problem}; choose another condition"
        )
    for choice in spec.environments:
        if not choice.can(Capability.CLOUD_OBSERVATIONS):
            raise UserError(
                f"{key}: {name!r} needs point clouds while the policy acts; environment"
                f" {choice.component.name!r} has none; choose another condition"
            )


def check_clouds(spec: Spec, data: Dataset) -> None:
    """Raise UserError if the teacher is needed and an episode has no point clouds."""
    if not needs_teacher(spec):
        return
    missing = [ref.name for ref in data.episodes if ref.open().clouds is None]
    if missing:
        raise UserError(
            f"episode {missing[0]}: has no point clouds, which the teacher needs"
            f" ({len(missing)} of {len(data.episodes)} episodes have none); record them, or"
            f" {_without_clouds(spec)}"
        )


def head_shape(spec: Spec, info: EnvironmentInfo) -> HeadShape:
    """Return the shapes of the policy head; 1 for the sizes of its observations."""
    policy = spec.policy
    return HeadShape(
        obs_dim=1,
        n_obs_steps=policy.n_obs_steps,
        action_dim=max(len(action_index(info.action_names, policy)), 1),
        horizon=policy.horizon,
        tokens=(1, 1) if policy.observes.tokens else None,
    )


def _check_head(spec: Spec, info: EnvironmentInfo) -> None:
    problems, shape = Problems(), head_shape(spec, info)
    with problems.collected("policy.head: "):
        if problem := spec.policy.head.build().check(shape):
            raise UserError(problem)
    problems.raise_any()


def _check_student(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.distill is None:
        return
    fused = spec.policy.observes.fused
    shape = StudentShape(
        cameras=len(info.cameras),
        image=info.image,
        dim=1,
        tokens=None if fused == "none" else (1, 1, 1),
    )
    problems = Problems()
    with problems.collected("distill.student: "):
        if problem := spec.distill.student.build().check(shape):
            raise UserError(problem)
    problems.raise_any()


def _check_warm_start(spec: Spec, info: EnvironmentInfo) -> None:
    policy, level = spec.policy, spec.act.warm_start
    if not level:
        return
    if policy.n_action_steps == policy.horizon:
        raise UserError(
            f"act.warm_start: {level} needs steps of the previous plan that were not executed, but"
            f" n_action_steps equals horizon ({policy.horizon}); set policy.n_action_steps below"
            " policy.horizon"
        )
    if not policy.head.can(Capability.MULTI_PLAN):
        raise UserError(
            f"act.warm_start: head {policy.head.component.name!r} cannot start from the previous"
            " plan; set warm_start = 0"
        )


def _check_compile(spec: Spec, info: EnvironmentInfo) -> None:
    if not spec.act.compile:
        return
    if not spec.policy.head.can(Capability.COMPILABLE):
        raise UserError(
            f"act.compile: head {spec.policy.head.component.name!r} has no network to compile;"
            " remove the key"
        )
    compiler = os.environ.get("CXX", "g++")
    if device_of(spec.compute.device) == "cpu" and shutil.which(compiler) is None:
        raise UserError(f"act.compile: C++ compiler {compiler!r} not found; install it or set CXX")


def _check_plans(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse options that need overlapping plans if plans do not overlap."""
    if spec.policy.n_action_steps < spec.policy.horizon:
        return
    for key, value in (
        ("candidates", spec.act.candidates > 1),
        ("temporal_ensemble", spec.act.temporal_ensemble),
    ):
        if value:
            raise UserError(
                f"act.{key}: {getattr(spec.act, key)} needs overlapping plans, but n_action_steps"
                f" equals horizon ({spec.policy.horizon}); set policy.n_action_steps below"
                " policy.horizon"
            )


def _check_timing(spec: Spec, info: EnvironmentInfo) -> None:
    policy = spec.policy
    if problem := spec.act.timing_problem(policy.horizon, policy.n_action_steps):
        raise UserError(problem)
    if spec.act.continuation == "freeze" and not policy.head.can(Capability.INPAINTING):
        raise UserError(
            f"act.continuation: head {policy.head.component.name!r} cannot hold steps of a plan"
            " fixed while it samples the others; set continuation to 'none' or 'blend'"
        )


def _check_limit(spec: Spec, info: EnvironmentInfo) -> None:
    if (spec.act.max_steps or 0) > info.max_steps:
        raise UserError(
            f"act.max_steps: {spec.act.max_steps} is more than the limit of {info.task},"
            f" {info.max_steps} steps; reduce it or remove it"
        )


def _check_one_task(spec: Spec, info: EnvironmentInfo) -> None:
    if len(spec.environments) > 1:
        raise UserError(
            "environment: act.replay replays the episodes of one task, but the spec has"
            f" {len(spec.environments)}; keep one"
        )


def _check_precision(spec: Spec, info: EnvironmentInfo) -> None:
    head = spec.policy.head
    if not head.can(Capability.PRECISION) or head.config.precision != "int8":
        return
    if (device := device_of(spec.compute.device)) != "cpu":
        raise UserError(
            f"policy.head: precision 'int8' needs a CPU, got {device!r}; set precision to"
            " 'bfloat16'"
        )


def _check_fusion(spec: Spec, info: EnvironmentInfo) -> None:
    import torch

    if spec.align is None:
        return
    problems, count, width = Problems(), len(spec.backbone), spec.align.token_dim
    with problems.collected("align.fusion: "), torch.random.fork_rng(devices=[]):
        fusion = spec.align.fusion.build()  # the global generator must not advance
        try:
            with torch.device("meta"):  # takes no memory, however wide the tokens are
                fusion.module(count, width)
        except (RuntimeError, NotImplementedError):  # a plugin's module that needs real tensors
            fusion.module(count, width)
    problems.raise_any()


def _check_single_backbone(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse losses and augmentations between backbones if there is only one."""
    if spec.align is None:
        return
    loss, augment = spec.align.loss, spec.align.augment
    several = {
        "loss.self_contrast": loss.self_contrast,
        "loss.entropy": loss.entropy,
        "augment.backbone_dropout": augment.backbone_dropout,
    }
    for name, value in several.items():
        if value and len(spec.backbone) == 1:
            raise UserError(
                f"align.{name}: {value} has no effect with one backbone; set it to 0 or add"
                " backbones"
            )


def _check_keypoint_grid(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.align and spec.extract.tokens.grid:  # otherwise known once features are stored
        check_token_count(spec.align, spec.extract.tokens.grid)


def _check_groups(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.align is None or spec.teacher is None:
        return
    for name in ("local", "chamfer"):
        if getattr(spec.align.loss, name) and not spec.teacher.can(Capability.GROUP_TOKENS):
            raise UserError(
                f"align.loss.{name}: teacher {spec.teacher.component.name!r} has no group tokens;"
                " set it to 0 or choose a teacher that has, such as ulip"
            )


def _check_device(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.compute.device not in ("auto", "cpu"):
        device_of(spec.compute.device)


CHECKS = (
    _check_layout,
    _check_seeds,
    _check_closed_loop,
    _check_condition,
    check_keep,
    _check_episode_clouds,
    _check_head,
    _check_student,
    _check_warm_start,
    _check_compile,
    _check_plans,
    _check_limit,
    _check_timing,
    _check_precision,
    _check_fusion,
    _check_single_backbone,
    _check_keypoint_grid,
    _check_groups,
    _check_device,
)
REPLAY_CHECKS = (_check_one_task, _check_limit, _check_device)
