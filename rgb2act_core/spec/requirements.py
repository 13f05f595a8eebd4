"""Which backbones and teacher a run needs, by the conditions of its policy and baselines."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError, did_you_mean
from ..system.formatting import number_duplicates
from . import BackboneChoice, Spec
from .conditions import CONDITIONS


def backbone_labels(choices: Sequence[BackboneChoice]) -> tuple[str, ...]:
    """Return a name for each backbone: the component's, numbered if it is chosen twice."""
    return number_duplicates([choice.component.name for choice in choices])


def policy_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones that encode frames when the policy acts.

    Raises UserError if ``[policy] backbone`` names none of the run's.
    """
    backbones = spec.policy.observes.backbones
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


def needs_teacher(spec: Spec) -> bool:
    """Return whether the policy or a baseline has an aligner, which is built for the teacher.

    A replay needs none: it trains nothing.
    """
    names = (spec.policy.condition, *spec.act.baselines)
    return not spec.act.replay and any(CONDITIONS[name].aligner for name in names)


def needed_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones whose features the policy or a baseline needs; none for a replay."""
    if spec.act.replay:
        return ()
    return spec.backbone if needs_teacher(spec) else policy_backbones(spec)
