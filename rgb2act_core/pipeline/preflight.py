"""Fit: whether spec and environment go together, told before anything runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from ..data.action_layout import action_index, check_grippers
from ..errors import UserError
from ..evaluation.seeds import named
from ..features.token_grids import check_token_count
from ..interfaces import EnvironmentInfo, HeadShape
from ..plugins.components import Capability
from ..spec import BackboneChoice, Choice, Spec
from ..spec.conditions import needed_backbones, replays, seen_backbones, taught
from ..stages import collect
from ..system.devices import device_of
from ..weights.inventory import weights_of


def check_compatibility(spec: Spec, info: EnvironmentInfo) -> None:
    """Raise UserError naming every way in which spec and environment don't fit."""
    problems: list[str] = []
    for check in CHECKS:
        try:
            check(spec, info)
        except UserError as err:
            problems += err.args
    if problems:
        raise UserError(*problems)


def _check_layout(spec: Spec, info: EnvironmentInfo) -> None:
    action_index(info.action_names, spec.policy)
    check_grippers(info.action_names, spec.policy)


def _check_seeds(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse to act on seeds that anything was learned from or chosen by."""
    if replays(spec):
        return  # nothing is learned
    used: dict[str, Sequence[int]] = {"act": named(spec.act).accepted}
    chosen = spec.policy.closed_loop
    learned: dict[str, range] = {}
    if info.demonstrates:
        first, scenes = spec.collect.start, spec.collect.scenes
        learned["demonstrations"] = _row(first, 2 * spec.collect.episodes)  # some tries fail
        learned["scenes"] = _row(first + collect.SCENE_SEEDS, scenes)
    if chosen:
        used["policy.closed_loop"] = _row(chosen.first_seed, chosen.episodes)
    for place, seeds in used.items():
        others = dict(learned)
        if chosen and place == "act":
            others["trials of policy.closed_loop"] = _row(chosen.first_seed, chosen.episodes)
        key = "seeds" if spec.act.seeds and place == "act" else "first_seed"
        for what, row in others.items():
            if met := [seed for seed in seeds if seed in row]:
                raise UserError(
                    f"{place}.{key}: {met[0] if key == 'seeds' else seeds[0]} meets the seeds of"
                    f" the {what}, which begin at {row.start}; act on seeds that nothing was"
                    " learned from"
                )


def _row(first: int, count: int) -> range:
    return range(first, first + count)


def _check_closed_loop(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.policy.closed_loop and not info.acts:
        raise UserError(
            f"policy.closed_loop: {info.task} has recorded episodes only, nothing to act in; leave"
            " it out"
        )
    if spec.policy.closed_loop and replays(spec):
        raise UserError(
            "policy.closed_loop: tries what is trained, and head = 'replay' trains nothing; leave"
            " it out"
        )


def _check_conditions(spec: Spec, info: EnvironmentInfo) -> None:
    wanted = (spec.policy.condition, *spec.act.baselines)
    seen_backbones(spec)
    if replays(spec) and spec.act.baselines:
        raise UserError(
            "act.baselines: they are trained for as long as the policy, and head = 'replay' trains"
            " none; take them from the list"
        )
    if "oracle" in wanted and not info.state_names:
        raise UserError(
            "policy.condition: 'oracle' needs an environment that knows its true state;"
            f" {info.task} does not"
        )
    if "proprio_only" in wanted and not spec.policy.proprio:
        raise UserError(
            "act.baselines: 'proprio_only' sees nothing at all with policy.proprio = false;"
            " take it from the list"
        )


def _head_shape(spec: Spec, info: EnvironmentInfo) -> HeadShape:
    policy = spec.policy
    return HeadShape(
        obs_dim=1,
        n_obs_steps=policy.n_obs_steps,
        action_dim=max(len(action_index(info.action_names, policy)), 1),
        horizon=policy.horizon,
        tokens=(1, 1) if policy.condition == "tokens" else None,
    )


def _check_head(spec: Spec, info: EnvironmentInfo) -> None:
    problem = spec.policy.head.build().check(_head_shape(spec, info))
    if problem:
        raise UserError(f"policy.head: {problem}")


def _check_warm_start(spec: Spec, info: EnvironmentInfo) -> None:
    policy, level = spec.policy, spec.act.warm_start
    if not level:
        return
    if policy.n_action_steps == policy.horizon:
        raise UserError(
            f"act.warm_start: {level}, but all {policy.horizon} steps of a plan are executed and"
            " nothing of it is left to go on from; set policy.n_action_steps below policy.horizon"
        )
    if not policy.head.can(Capability.MULTI_PLAN):
        raise UserError(
            f"act.warm_start: the head {policy.head.component.name!r} cannot go on from an earlier"
            " plan; set warm_start = 0"
        )


def _check_compile(spec: Spec, info: EnvironmentInfo) -> None:
    if not spec.act.compile:
        return
    if not spec.policy.head.can(Capability.COMPILABLE):
        raise UserError(
            f"act.compile: the head {spec.policy.head.component.name!r} has no network that can be"
            " compiled; remove it"
        )
    compiler = os.environ.get("CXX", "g++")
    if device_of(spec.compute) == "cpu" and shutil.which(compiler) is None:
        raise UserError(
            f"act.compile: there is no C++ compiler {compiler!r}; install it, or set CXX"
        )


def _check_plans(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse to compare or blend plans that say nothing of the same step."""
    if spec.policy.n_action_steps < spec.policy.horizon or replays(spec):
        return
    for key, value in (
        ("candidates", spec.act.candidates > 1),
        ("temporal_ensemble", spec.act.temporal_ensemble),
    ):
        if value:
            raise UserError(
                f"act.{key}: {getattr(spec.act, key)}, but all {spec.policy.horizon} steps of a"
                " plan are executed and no two plans say something of the same step; set"
                " policy.n_action_steps below policy.horizon"
            )


def _check_tasks(spec: Spec, info: EnvironmentInfo) -> None:
    if replays(spec) and len(spec.environments) > 1:
        raise UserError(
            f"environment: head = 'replay' plays episodes of one task, the spec has"
            f" {len(spec.environments)}; name one"
        )


def _check_precision(spec: Spec, info: EnvironmentInfo) -> None:
    head = spec.policy.head
    if not head.can(Capability.PRECISION) or head.config.precision != "int8":
        return
    if (device := device_of(spec.compute)) != "cpu":
        raise UserError(
            f"policy.head: precision 'int8' plans on a CPU, not on {device!r}; set precision to"
            " 'bfloat16'"
        )


def _check_fusion(spec: Spec, info: EnvironmentInfo) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):  # what is drawn later stays as it was
        spec.align.fusion.build().module(len(spec.backbone), spec.align.token_dim)


def _check_several(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse what is done to backbones among others where there is one alone."""
    loss, augment = spec.align.loss, spec.align.augment
    several = {
        "loss.self_contrast": loss.self_contrast,
        "loss.entropy": loss.entropy,
        "augment.backbone_dropout": augment.backbone_dropout,
    }
    for name, value in several.items():
        if value and len(spec.backbone) == 1:
            raise UserError(
                f"align.{name}: {value} is of no effect with one backbone; set it to 0 or add"
                " backbones"
            )


def _check_places(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.extract.tokens.grid is not None:  # else it is known where features are
        check_token_count(spec.align, spec.extract.tokens.grid)


def _check_groups(spec: Spec, info: EnvironmentInfo) -> None:
    for name in ("local", "chamfer"):
        if getattr(spec.align.loss, name) and not spec.teacher.can(Capability.GROUP_TOKENS):
            raise UserError(
                f"align.loss.{name}: teacher {spec.teacher.component.name} offers no group tokens;"
                " set it to 0 or choose a teacher that does, such as ulip"
            )


def _check_device(spec: Spec, info: EnvironmentInfo) -> None:
    if spec.compute.device not in ("auto", "cpu"):
        device_of(spec.compute)


CHECKS = (
    _check_layout,
    _check_seeds,
    _check_closed_loop,
    _check_conditions,
    _check_head,
    _check_warm_start,
    _check_compile,
    _check_plans,
    _check_tasks,
    _check_precision,
    _check_fusion,
    _check_several,
    _check_places,
    _check_groups,
    _check_device,
)


def check_weights_load(spec: Spec, image: tuple[int, int]) -> None:
    """Build each needed component that reads a file, and let it go; official files are fetched.

    Building is what finds a missing, cut, hostile or wrong file, and a grid of ``[extract] tokens``
    that images (H, W) do not give. Files are memory-mapped, so it costs little beside what a run
    does with them. Raises UserError with every problem.
    """
    from ..features.token_codec import stored_grid

    problems: list[str] = []
    choices: list[Choice] = [*needed_backbones(spec), *((spec.teacher,) if taught(spec) else ())]
    for choice in choices:
        pooled = spec.extract.tokens.grid is not None and isinstance(choice, BackboneChoice)
        if pooled or any(need.state not in ("random", "none") for need in weights_of("", choice)):
            try:
                built = choice.build()
                if pooled:
                    stored_grid(spec.extract.tokens, built.grid(*image))
            except UserError as err:
                problems += err.args
    if problems:
        raise UserError(*dict.fromkeys(problems))
