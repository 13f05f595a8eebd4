"""Which backbones and teacher a run needs, by the conditions of its policy and baselines."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..errors import UserError, did_you_mean
from ..system.formatting import number_duplicates
from . import Align, BackboneChoice, Distill, Spec, TeacherChoice
from .conditions import CONDITIONS, Condition

NO_STUDENT = "missing, and policy.encoder = 'student' needs it; add a table [distill] with student"
NO_STUDENT += " = { use = ... }"
NO_TEACHER = (
    "missing, and policy.train_on = 'teacher' needs it; add a table [teacher] with use = ..."
)
TRAINED_ON_STUDENT = "'teacher' contradicts distill.head = 'trained', which is trained on the"
TRAINED_ON_STUDENT += " student's embeddings; remove one of them"


def backbone_labels(choices: Sequence[BackboneChoice]) -> tuple[str, ...]:
    """Return a name for each backbone: the component's, numbered if it is chosen twice."""
    return number_duplicates([choice.component.name for choice in choices])


def policy_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones that encode frames when the policy acts; none if a student does.

    Raises UserError if ``[policy] backbone`` names none of the run's.
    """
    backbones = spec.policy.observes.backbones
    if spec.policy.encoder == "student":
        return ()
    if backbones == "all":
        return spec.backbone
    if backbones == "none":
        return ()
    labels, name = backbone_labels(spec.backbone), spec.policy.backbone
    if name and name not in labels:
        raise UserError(
            f"policy.backbone: unknown backbone {name!r}{did_you_mean(name, labels)};"
            f" the run has {', '.join(labels)}"
        )
    return (spec.backbone[labels.index(name) if name else 0],)


def policy_teacher(spec: Spec) -> TeacherChoice | None:
    """Return the teacher if the policy observes its embedding of the true point cloud."""
    return teacher_of(spec) if spec.policy.observes.teacher else None


def needs_teacher(spec: Spec) -> bool:
    """Return whether aligner or policy is trained on the teacher's embedding.

    A replay trains nothing, and a run that stores aligned features trains no aligner.
    """
    aligns = not spec.extract.aligned
    conditions = trained_conditions(spec)
    if conditions and spec.policy.trains_on_teacher:
        return True
    return any(c.teacher or (aligns and c.needs_teacher) for c in conditions)


def needs_aligner(spec: Spec) -> bool:
    """Return whether the policy or a baseline has an aligner, trained or not."""
    return any(condition.aligner for condition in trained_conditions(spec))


def has_aligner_stage(spec: Spec) -> bool:
    """Return whether the policy begins with the aligner of the align stage, or a given one."""
    return spec.policy.observes.needs_alignment and not spec.act.replay


def has_student_stage(spec: Spec) -> bool:
    """Return whether a student learns from the aligner, which must be frozen."""
    frozen = spec.policy.observes.aligner == "trained"
    return spec.distill is not None and frozen and has_aligner_stage(spec)


def stores_aligned(spec: Spec) -> bool:
    """Return whether the run stores what a given aligner computes instead of tokens."""
    return spec.extract.aligned and not spec.act.replay


def teacher_of(spec: Spec) -> TeacherChoice:
    """Return the teacher. Raises UserError if the spec has none."""
    if spec.teacher is None:
        raise UserError(f"teacher: {missing_table('teacher', spec.policy.condition)}")
    return spec.teacher


def align_of(spec: Spec) -> Align:
    """Return the table ``[align]``. Raises UserError if the spec has none."""
    if spec.align is None:
        raise UserError(f"align: {missing_table('align', spec.policy.condition)}")
    return spec.align


def distill_of(spec: Spec) -> Distill:
    """Return the table ``[distill]``. Raises UserError if the spec has none."""
    if spec.distill is None:
        raise UserError(f"distill: {NO_STUDENT}")
    return spec.distill


def keeps_head(spec: Spec) -> bool:
    """Return whether the policy acts with a student and a head of the full encoder."""
    return spec.policy.encoder == "student" and distill_of(spec).head == "kept"


def training_spec(spec: Spec) -> Spec:
    """Return the spec that the policy is trained with: of a kept head, that of the full encoder."""
    if not keeps_head(spec):
        return spec
    return attrs.evolve(spec, policy=attrs.evolve(spec.policy, encoder="full"))


def missing_table(name: str, condition: str) -> str:
    """Return the message for a missing table ``teacher`` or ``align`` that a condition needs."""
    use = "use = ..." if name == "teacher" else "fusion = { use = ... }"
    return f"missing, and {condition!r} needs it; add a table [{name}] with {use}"


def trained_conditions(spec: Spec) -> tuple[Condition, ...]:
    """Return the conditions of the policy and the baselines; none for a replay."""
    if spec.act.replay:
        return ()
    names = dict.fromkeys((spec.policy.condition, *spec.act.baselines))
    return tuple(CONDITIONS[name] for name in names)


def needed_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones whose features the policy or a baseline needs; none for a replay."""
    if spec.act.replay:
        return ()
    if any(condition.backbones == "all" for condition in trained_conditions(spec)):
        return spec.backbone
    baselines = (CONDITIONS[name] for name in spec.act.baselines)
    first = spec.backbone[:1] if any(c.backbones == "one" for c in baselines) else ()
    needed = (*policy_backbones(spec), *first)  # a baseline of one backbone has the first
    return tuple(choice for choice in spec.backbone if any(choice is one for one in needed))
