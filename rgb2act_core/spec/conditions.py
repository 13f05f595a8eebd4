"""Which backbones, teacher and aligner each policy condition needs."""

from __future__ import annotations

from ..builtin.heads.replay import Replay
from ..errors import UserError, near
from . import BackboneChoice, Spec

ALIGNED = ("aligned", "dual", "tokens")  # conditions whose policy sees a trained, frozen aligner


OWN = ("random_aligner", "end_to_end")  # conditions whose policy brings an aligner of its own


def labels_of(choices: tuple[BackboneChoice, ...]) -> tuple[str, ...]:
    """Return a name for each backbone: the component's, numbered where it is chosen twice."""
    names = [choice.component.name for choice in choices]
    return tuple(
        name if names.count(name) == 1 else f"{name}-{names[:i].count(name)}"
        for i, name in enumerate(names)
    )


def replays(spec: Spec) -> bool:
    """Return whether recorded actions are played, so that nothing is encoded or trained."""
    return isinstance(spec.policy.head.config, Replay)


def seen_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones whose tokens the policy looks at when it acts."""
    policy = spec.policy
    if replays(spec):
        return ()
    if policy.condition in (*ALIGNED, *OWN):
        return spec.backbone
    if policy.condition != "single_backbone":
        return ()
    labels = labels_of(spec.backbone)
    if policy.backbone and policy.backbone not in labels:
        raise UserError(
            f"policy.backbone: there is no {policy.backbone!r}{near(policy.backbone, labels)};"
            f" the run has {', '.join(labels)}"
        )
    return (spec.backbone[labels.index(policy.backbone) if policy.backbone else 0],)


def taught(spec: Spec) -> bool:
    """Return whether a run needs its teacher, and so point clouds: whether it has an aligner."""
    if replays(spec):
        return False
    wanted = {spec.policy.condition, *spec.act.baselines}
    return not wanted.isdisjoint((*ALIGNED, *OWN))


def needed_backbones(spec: Spec) -> tuple[BackboneChoice, ...]:
    """Return the backbones whose features the run's policy or a baseline needs."""
    return spec.backbone if taught(spec) else seen_backbones(spec)
