"""Log what a policy did: frames with keypoints and feature maps, commands, and all plans.

Shapes: T = steps, V = cameras, A = actions, P = plans, S = horizon, D = dimensions moved,
F = frames with features, J = keypoints, h w = token grid
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from .recording import HAND_RADIUS, Recording, add_layout


@attrs.frozen(eq=False, kw_only=True)
class ViewedFeatures:
    """Features of F frames."""

    steps: Sequence[int]
    maps: Mapping[str, NDArray[np.uint8]]  # by backbone, colours (F, V, h, w, 3)
    keypoints: NDArray[np.floating] | None  # (F, V, J, 2), rows and columns from -1 to 1


@attrs.frozen(eq=False, kw_only=True)
class ViewedRollout:
    """An episode of an environment, or a demonstration on whose frames a policy planned."""

    title: str
    cameras: Sequence[str]
    action_names: Sequence[str]
    rgb: NDArray[np.uint8]  # (T or T + 1, V, H, W, 3)
    joints: NDArray[np.float32]  # (T or T + 1, A), observed
    commands: NDArray[np.float32]  # (T, A)
    hands: NDArray[np.float32]  # (T + 1, X, 3), or no rows
    plans: NDArray[np.float32]  # (P, S, D)
    plan_steps: Sequence[int]  # first step of each plan
    moved: Sequence[int]  # index of each of the D dimensions
    features: ViewedFeatures | None


def log_rollout(recording: Recording, rollout: ViewedRollout, root: str) -> None:
    """Log a rollout below ``root``.

    The chart of each joint shows what was observed and commanded, and each plan from the step on at
    which it was made.
    """
    recording.text(f"{root}/text", f"# {rollout.title}")
    moved = [rollout.action_names[d] for d in rollout.moved]
    for t in range(len(rollout.rgb)):
        recording.at(t)
        for v, camera in enumerate(rollout.cameras):
            recording.image(f"{root}/camera/{camera}", rollout.rgb[t, v])
        if t < len(rollout.hands) and rollout.hands.shape[1]:
            recording.points(f"{root}/world/hands", rollout.hands[t], radius=HAND_RADIUS)
        _log_joints(recording, rollout, t, root)
    if rollout.features is not None:
        _log_features(recording, rollout, rollout.features, root)
    _log_plans(recording, rollout, root)
    add_layout(
        recording,
        root,
        rollout.cameras,
        moved,
        world=bool(rollout.hands.size),
        features=list(rollout.features.maps) if rollout.features else (),
    )


def _log_joints(recording: Recording, rollout: ViewedRollout, t: int, root: str) -> None:
    for a, name in enumerate(rollout.action_names):
        recording.number(f"{root}/joint/{name}/observed", rollout.joints[t, a])
        if t < len(rollout.commands):
            recording.number(f"{root}/joint/{name}/command", rollout.commands[t, a])


def _log_features(
    recording: Recording, rollout: ViewedRollout, features: ViewedFeatures, root: str
) -> None:
    size = (rollout.rgb.shape[2], rollout.rgb.shape[3])
    for i, step in enumerate(features.steps):
        recording.at(step)
        for v, camera in enumerate(rollout.cameras):
            if features.keypoints is not None:
                path = f"{root}/camera/{camera}/keypoints"
                recording.pixels(path, features.keypoints[i, v], size)
            for name, colours in features.maps.items():
                recording.image(f"{root}/features/{camera}/{name}", colours[i, v])


def _log_plans(recording: Recording, rollout: ViewedRollout, root: str) -> None:
    """Log each plan as a curve of its own; plans that overlap use different entities."""
    if not len(rollout.plans):
        return
    horizon, steps = rollout.plans.shape[1], rollout.plan_steps
    stride = min(np.diff(steps), default=horizon)
    lanes = -(-(horizon + 1) // max(int(stride), 1))
    for p, (first, plan_SD) in enumerate(zip(steps, rollout.plans, strict=True)):
        for d, index in enumerate(rollout.moved):
            path = f"{root}/joint/{rollout.action_names[index]}/plan/{p % lanes}"
            for s in range(horizon):
                recording.at(int(first) + s)
                recording.number(path, plan_SD[s, d])
            recording.at(int(first) + horizon)
            recording.number(path, float("nan"))  # the next plan is another curve
