"""Where the stages of a run lie: what each depends on, and the folder that it names.

Upstream stages enter by their keys, data by its digests, files by their content, components by
name, version and config. Fields that change no result enter nowhere.
"""

from __future__ import annotations

from typing import Any

import attrs

from ..data.dataset import Dataset
from ..interfaces.fields import Mark, is_marked
from ..spec import Act, Policy
from ..spec.conditions import ALIGNED, OWN, replays, seen_backbones
from ..store.feature_folders import stored_recipe
from ..store.keys import canonical
from ..store.run import Run
from ..store.stage_folder import StageFolder

# raise one when the stage's code begins to give other numbers
VERSIONS = {"align": 1, "train": 1, "act": 4, "trials": 2}


def align_folder(run: Run, data: Dataset) -> StageFolder | None:
    """Return the folder of the aligner; None when the policy does without one."""
    if run.spec.policy.condition not in ALIGNED or replays(run.spec):
        return None
    return StageFolder.of(run.store / "align", align_inputs(run, data))


def policy_folder(
    run: Run, data: Dataset, aligner: StageFolder | None, budget: dict[str, Any] | None = None
) -> StageFolder:
    """Return the folder of the policy; a budget is what a baseline's training may take."""
    inputs = train_inputs(run, data, aligner)
    return StageFolder.of(run.store / "policy", inputs | ({"budget": budget} if budget else {}))


def act_folder(run: Run, policy: StageFolder) -> StageFolder:
    """Return the folder of the trials."""
    return StageFolder.of(run.store / "act", act_inputs(run, policy))


def align_inputs(run: Run, data: Dataset) -> dict[str, Any]:
    """Return what the aligner's weights depend on."""
    return {
        "stage": "align",
        "version": VERSIONS["align"],
        "data": data.key,
        "backbones": [stored_recipe(run.spec, choice) for choice in run.spec.backbone],
        "teacher": canonical(run.spec.teacher),
        "align": canonical(run.spec.align),
        "seed": run.spec.seed,
    }


def train_inputs(run: Run, data: Dataset, aligner: StageFolder | None) -> dict[str, Any]:
    """Return what the policy's weights depend on."""
    policy: Policy = run.spec.policy
    if replays(run.spec):
        return {"stage": "replay", "data": data.key, "head": canonical(policy.head)}
    inputs: dict[str, Any] = {
        "stage": "train",
        "version": VERSIONS["train"],
        "data": data.key,
        "policy": canonical(policy),
        "seed": run.spec.seed,
    }
    if policy.closed_loop:  # which weights are kept depends on how they are tried
        tries = canonical(run.spec.act)
        for field in attrs.fields(Act):
            if is_marked(field, Mark.EVALUATION_ONLY):
                tries.pop(field.name, None)
        inputs["act"], inputs["trials"] = tries, VERSIONS["trials"]
        inputs["environments"] = [canonical(choice) for choice in run.spec.environments]
    if aligner is not None:
        inputs["aligner"] = aligner.key
    elif policy.condition in OWN:
        inputs["aligner"] = align_inputs(run, data)
    elif policy.condition == "single_backbone":
        inputs["backbones"] = [stored_recipe(run.spec, c) for c in seen_backbones(run.spec)]
    return inputs


def act_inputs(run: Run, policy: StageFolder) -> dict[str, Any]:
    """Return what the outcome of acting depends on."""
    tries = canonical(run.spec.act)
    del tries["baselines"]
    tries["first_seed"] = run.spec.act.start
    if tries["seeds"] is None:
        del tries["seeds"]
    return {
        "stage": "act",
        "version": VERSIONS["act"],
        "policy": policy.key,
        "environment": canonical(run.spec.environment),
        "act": tries,
    }
