"""What each stage of a run depends on, and the folder derived from it.

A stage's key covers upstream stages by their keys, data by its digests, files by their content,
and components by name, version and config. Fields that do not change results are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ..data.dataset import Dataset
from ..errors import UserError
from ..features.aligned import StoredAligned
from ..features.reader import StoredEmbeddings, StoredFeatures
from ..interfaces.fields import Mark, is_marked
from ..spec import Act, BackboneChoice, PolicySpec, Spec, Tokens
from ..spec.requirements import (
    align_of,
    backbone_labels,
    distill_of,
    has_aligner_stage,
    has_student_stage,
    keeps_head,
    policy_backbones,
    stores_aligned,
    teacher_of,
    training_spec,
)
from ..store.files import read_json
from ..store.keys import canonical, key_of
from ..store.stage_folder import StageFolder
from ..store.stage_id import Stage
from .given_aligner import check_trained_alike, given_aligner
from .run import Run

# raise a stage's version when its code changes the results
VERSIONS = {Stage.ALIGN: 2, Stage.DISTILL: 1, Stage.TRAIN: 3, Stage.ACT: 5}
TRIALS_VERSION = 2  # of the evaluation during training
FREEZE_VERSION = 2  # of plans whose first steps are held fixed
NOISE_VERSION = 2  # of noise on tokens in alignment
CELLS_VERSION = 1  # of training the aligner with the head on some of the cells
ALIGNED_VERSION = 1  # of stored outputs of an aligner

# fields of [align] that matter only if the aligner is trained against the teacher
ALIGNMENT_ONLY = (
    "steps",
    "batch_size",
    "micro_batch",
    "precision",
    "ema",
    "lr",
    "weight_decay",
    "warmup",
    "grad_clip",
    "task_weights",
    "augment",
)


def feature_recipe(spec: Spec, choice: BackboneChoice) -> dict[str, Any]:
    """Return the canonical data that determines a backbone's stored features."""
    recipe: dict[str, Any] = canonical(choice)
    tokens = spec.extract.tokens
    return recipe if tokens == Tokens() else recipe | {"extract.tokens": canonical(tokens)}


def align_recipe(spec: Spec) -> dict[str, Any]:
    """Return the canonical data of ``[align]``, with the default of an omitted floor filled in."""
    recipe: dict[str, Any] = canonical(align_of(spec))
    return recipe | {"teacher_floor": align_of(spec).floor}


def embedding_recipe(spec: Spec) -> dict[str, Any]:
    """Return the canonical data that determines the teacher's stored embeddings."""
    recipe: dict[str, Any] = canonical(teacher_of(spec))
    return recipe | {"groups": True} if _grouped(spec) else recipe


def _grouped(spec: Spec) -> bool:
    """Return whether a loss of the aligner needs the teacher's group tokens."""
    return spec.align is not None and spec.align.loss.grouped


def stored_features(
    run: Run, choices: Sequence[BackboneChoice] | None = None
) -> tuple[StoredFeatures, ...]:
    """Return the stored features of some of the run's backbones, by default of all."""
    backbones = run.spec.backbone
    wanted = range(len(backbones)) if choices is None else map(backbones.index, choices)
    return tuple(_features_of(run, number) for number in wanted)


def _features_of(run: Run, number: int) -> StoredFeatures:
    """Return the stored features of one of the run's backbones."""
    spec, choice = run.spec, run.spec.backbone[number]
    recipe = feature_recipe(spec, choice)
    return StoredFeatures(
        label=backbone_labels(spec.backbone)[number],
        folder=run.store / "features" / f"{choice.component.name}-{key_of(recipe)}",
        choice=choice,
        token_format=spec.extract.tokens,
        recipe=recipe,
        passed_checks=run.store / "fingerprints",
    )


def stored_embeddings(run: Run) -> StoredEmbeddings:
    """Return the stored embeddings of the run's teacher, with group tokens if a loss uses them."""
    teacher, recipe = teacher_of(run.spec), embedding_recipe(run.spec)
    name = teacher.component.name
    return StoredEmbeddings(
        label=name,
        folder=run.store / "embeddings" / f"{name}-{key_of(recipe)}",
        choice=teacher,
        grouped=_grouped(run.spec),
        recipe=recipe,
    )


def stored_aligned(run: Run) -> StoredAligned:
    """Return the stored outputs of the aligner that the spec names.

    Their key covers its weights: an aligner that is trained again gives other outputs.
    """
    aligner = given_aligner(run)
    with_tokens = run.spec.policy.observes.tokens
    recipe = {
        "version": ALIGNED_VERSION,
        "aligner": aligner.key,
        "weights": _weights_digest(aligner.path / "aligner.json"),
        "tokens": with_tokens,
    }
    return StoredAligned(
        label="aligned",
        folder=run.store / "aligned" / key_of(recipe),
        backbones=stored_features(run),
        aligner=aligner.path,
        with_tokens=with_tokens,
        recipe=recipe,
    )


def _weights_digest(path: Path) -> str:
    digest = read_json(path).get("weights_digest")
    if not isinstance(digest, str):
        raise UserError(
            f"{path}: has no digest of its weights, as of an earlier version; delete its folder"
            " and train it again"
        )
    return digest


def check_given_aligner(run: Run) -> None:
    """Raise UserError if the run cannot use the aligner that its spec names."""
    if stores_aligned(run.spec):
        recipes = [feature_recipe(run.spec, choice) for choice in run.spec.backbone]
        needed = {"backbones": recipes, "align": align_recipe(run.spec)}
        if run.spec.policy.trains_on_teacher:
            needed["teacher"] = canonical(run.spec.teacher)
        check_trained_alike(run, needed)


def observed_features(run: Run) -> tuple[StoredFeatures, ...] | StoredAligned:
    """Return the stored features that the run's policy is trained on."""
    if stores_aligned(run.spec) and run.spec.policy.observes.aligner == "trained":
        return stored_aligned(run)
    return stored_features(run, policy_backbones(run.spec))


def align_folder(run: Run, data: Dataset) -> StageFolder | None:
    """Return the folder of the aligner, or None if no policy needs one."""
    if not has_aligner_stage(run.spec):
        return None
    if run.spec.extract.aligned:
        return given_aligner(run)
    noise = {"noise": NOISE_VERSION} if align_of(run.spec).augment.noise else {}
    return StageFolder.of(run.store / "align", align_inputs(run, data) | noise)


def student_folder(run: Run, data: Dataset, aligner: StageFolder | None) -> StageFolder | None:
    """Return the folder of the student, or None without ``[distill]`` or a frozen aligner."""
    if aligner is None or not has_student_stage(run.spec):
        return None
    return StageFolder.of(run.store / "distill", distill_inputs(run, data, aligner))


def policy_folder(
    run: Run,
    data: Dataset,
    aligner: StageFolder | None,
    student: StageFolder | None = None,
    budget: dict[str, Any] | None = None,
) -> StageFolder:
    """Return the folder of the policy; ``budget`` limits the training of a baseline."""
    inputs = train_inputs(run, data, aligner, student)
    return StageFolder.of(run.store / "policy", inputs | ({"budget": budget} if budget else {}))


def act_folder(
    run: Run,
    data: Dataset | None,
    policy: StageFolder | None,
    student: StageFolder | None = None,
) -> StageFolder:
    """Return the folder of the evaluation; ``policy`` is None for a replay of the data.

    ``student`` is that of the run, if it has one.
    """
    return StageFolder.of(run.store / "act", act_inputs(run, data, policy, student))


def align_inputs(run: Run, data: Dataset) -> dict[str, Any]:
    """Return everything that the aligner's weights depend on."""
    return {
        "stage": Stage.ALIGN,
        "version": VERSIONS[Stage.ALIGN],
        "data": data.key,
        "backbones": [feature_recipe(run.spec, choice) for choice in run.spec.backbone],
        "teacher": canonical(run.spec.teacher),
        "align": align_recipe(run.spec),
        "seed": run.spec.seed,
    }


def _new_aligner_inputs(run: Run, data: Dataset) -> dict[str, Any]:
    """Return everything that the first weights of an aligner without alignment depend on."""
    inputs, loss = align_inputs(run, data), align_of(run.spec).loss
    unused = {*ALIGNMENT_ONLY} if loss.learns_temperature else {*ALIGNMENT_ONLY, "loss"}
    align = {name: value for name, value in inputs["align"].items() if name not in unused}
    return inputs | {"align": align}


def distill_inputs(run: Run, data: Dataset, aligner: StageFolder) -> dict[str, Any]:
    """Return everything that the student's weights depend on."""
    distill = canonical(distill_of(run.spec))
    del distill["head"]
    return {
        "stage": Stage.DISTILL,
        "version": VERSIONS[Stage.DISTILL],
        "data": data.key,
        "aligner": aligner.key,
        "distill": distill,
        "fused": run.spec.policy.observes.fused,
        "seed": run.spec.seed,
    }


def train_inputs(
    run: Run, data: Dataset, aligner: StageFolder | None, student: StageFolder | None = None
) -> dict[str, Any]:
    """Return everything that the policy's weights depend on.

    A kept head depends on the aligner only, not on the student that acts with it.
    """
    policy: PolicySpec = training_spec(run.spec).policy
    inputs: dict[str, Any] = {
        "stage": Stage.TRAIN,
        "version": VERSIONS[Stage.TRAIN],
        "data": data.key,
        "policy": canonical(policy),
        "seed": run.spec.seed,
    }
    if policy.closed_loop:  # the weights that are kept depend on how they are evaluated
        act = _act_of(run.spec.act)
        for field in attrs.fields(Act):
            if is_marked(field, Mark.EVALUATION_ONLY):
                act.pop(field.name, None)
        inputs["act"], inputs["trials"] = act, TRIALS_VERSION
        inputs["environments"] = [canonical(choice) for choice in run.spec.environments]
    if policy.encoder == "student" and student is not None:
        inputs["student"] = student.key
    elif aligner is not None:
        inputs["aligner"] = aligner.key
        if stores_aligned(run.spec):
            inputs["aligned"] = dict(stored_aligned(run).recipe)
    elif policy.observes.aligner is not None:
        inputs["aligner"] = _new_aligner_inputs(run, data)
    elif policy.observes.backbones == "one":
        inputs["backbones"] = [feature_recipe(run.spec, c) for c in policy_backbones(run.spec)]
    if policy.observes.trains_aligner and align_of(run.spec).tokens:
        inputs["cells"] = CELLS_VERSION
    if policy.observes.teacher or policy.trains_on_teacher:
        inputs["teacher"] = canonical(teacher_of(run.spec))
    if policy.train_on == "teacher" and not policy.trains_on_teacher:  # it is not used
        inputs["policy"] = canonical(attrs.evolve(policy, train_on="aligner"))
    return inputs


def _act_of(act: Act) -> dict[str, Any]:
    found: dict[str, Any] = canonical(act)
    if act.continuation == "freeze":
        found["freeze"] = FREEZE_VERSION
    return found


def act_inputs(
    run: Run,
    data: Dataset | None,
    policy: StageFolder | None,
    student: StageFolder | None = None,
) -> dict[str, Any]:
    """Return what the results of evaluating a policy, or of replaying the data, depend on."""
    assert policy is not None or data is not None
    act = _act_of(run.spec.act)
    del act["baselines"]
    if policy is not None:  # a replay without first_seed starts with the first recorded seed
        act["first_seed"] = run.spec.act.start
    if act["seeds"] is None:
        del act["seeds"]
    return {
        "stage": Stage.ACT,
        "version": VERSIONS[Stage.ACT],
        **({"policy": policy.key} if policy else {"data": data.key if data else ""}),
        **({"student": student.key} if student and policy and keeps_head(run.spec) else {}),
        "environment": canonical(run.spec.environment),
        "act": act,
    }
