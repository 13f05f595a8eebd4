"""Check that a spec needs no tokens if it stores only what an aligner computes from them."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UserError
from ..interfaces import EnvironmentInfo
from ..spec import Spec
from ..spec.conditions import CONDITIONS


def check_keep(spec: Spec, info: EnvironmentInfo) -> None:
    """Refuse what needs tokens, or has no effect, if only aligned features are stored."""
    if spec.extract.aligned and (problems := list(_problems(spec))):
        raise UserError(*problems)


def _problems(spec: Spec) -> Iterator[str]:
    condition = spec.policy.observes
    if condition.aligner != "trained":
        yield (
            "extract.keep: 'aligned' needs a trained and frozen aligner, which policy.condition ="
            f" {condition.name!r} does not have; set keep = 'tokens'"
        )
    for name in spec.act.baselines:
        if CONDITIONS[name].backbones != "none":
            yield (
                f"act.baselines: {name!r} needs tokens, but extract.keep = 'aligned' does not store"
                " them; remove the baseline or set keep = 'tokens'"
            )
    if spec.distill is not None:
        yield (
            "distill: learns from tokens, but extract.keep = 'aligned' does not store them; remove"
            " the table or set keep = 'tokens'"
        )
    if spec.collect.scenes:
        yield (
            f"collect.scenes: {spec.collect.scenes} scenes have no effect with extract.keep ="
            " 'aligned', because no aligner is trained on them; set scenes = 0"
        )
