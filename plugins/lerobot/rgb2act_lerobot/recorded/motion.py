"""Which dimensions of state and action belong together.

Shapes: A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from rgb2act_core import UserError

from ..config import LeRobot
from .schema import ACTION, STATE, Feature, Schema


@attrs.frozen(kw_only=True)
class Matching:
    """Names of the actions, and the state dimension of each."""

    names: tuple[str, ...]  # (A,)
    state_index: tuple[int, ...]  # (A,)


def matching(schema: Schema, config: LeRobot) -> Matching:
    """Return which state dimension belongs to each action.

    They are matched by name. State and action of one width without names are matched by position.
    Raises UserError that lists both if they do not fit together.
    """
    place = f"{schema.root}/meta/info.json"
    action, state = _vector(schema, place, ACTION), _vector(schema, place, STATE)
    names = _names(config.action_names, "action_names", action)
    state_names = _names(config.state_names, "state_names", state)
    if names and state_names and set(names) <= set(state_names):
        return Matching(names=names, state_index=tuple(map(state_names.index, names)))
    if action.width == state.width and not (names and state_names):
        known = names or state_names or tuple(f"joint_{i}" for i in range(action.width))
        return Matching(names=known, state_index=tuple(range(action.width)))
    raise UserError(
        f"{place}: {ACTION} has {_listed(names, action)}, {STATE} {_listed(state_names, state)};"
        " name the dimensions alike with [environment] action_names and state_names"
    )


def _vector(schema: Schema, place: str, key: str) -> Feature:
    feature = schema.features.get(key)
    if feature is None or len(feature.shape) != 1 or not feature.width:
        what = "is missing" if feature is None else f"has the shape {feature.shape!r}"
        raise UserError(f"{place}: the feature {key} {what}; give a data set with joint positions")
    return feature


def _names(configured: Sequence[str], field: str, feature: Feature) -> tuple[str, ...]:
    if configured and len(configured) != feature.width:
        raise UserError(
            f"lerobot.{field}: has {len(configured)} names, {feature.key} {feature.width} values;"
            " give one name per value"
        )
    names = tuple(name.removesuffix(".pos") for name in (configured or feature.names))
    return names if len(set(names)) == len(names) and all(names) else ()


def _listed(names: Sequence[str], feature: Feature) -> str:
    return f"{feature.width} values ({', '.join(names) if names else 'without names'})"
