"""Faults of recorded data, planted into sound episodes: one function per fault.

Each takes the episodes of a data set and a random generator, which chooses the episode, the joint
and the frame, and returns the episodes with the fault. ``FAULTS`` names the rule that finds each.

Shapes: T = frames of an episode, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from rgb2act_core.interfaces import Episode, PointCloud

Episodes = list[Episode]


def moving_joint(episode: Episode, rng: np.random.Generator) -> int:
    """Return a random joint that moves clearly, never a gripper."""
    assert episode.joints is not None
    ranges_A = np.ptp(np.asarray(episode.joints), axis=0)
    ranges_A[6::7] = 0
    return int(rng.choice(np.flatnonzero(ranges_A > min(0.3, ranges_A.max() / 2))))


def arrays(episode: Episode) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return copies of joints and actions (T, A)."""
    return np.array(episode.joints), np.array(episode.actions)


def in_one(episodes: Sequence[Episode], rng: np.random.Generator, **changes: Any) -> Episodes:
    """Return the episodes, with fields of a random one replaced; functions take the episode."""
    k = int(rng.integers(len(episodes)))
    values = {n: v(episodes[k]) if callable(v) else v for n, v in changes.items()}
    return [attrs.evolve(e, **values) if i == k else e for i, e in enumerate(episodes)]


def in_all(episodes: Sequence[Episode], **changes: Callable[[Episode], Any]) -> Episodes:
    """Return the episodes with fields of all of them replaced."""
    return [attrs.evolve(e, **{n: v(e) for n, v in changes.items()}) for e in episodes]


def lengths(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_one(episodes, rng, rgb=lambda e: e.rgb[: len(e.rgb[:]) - 2])


def degrees(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    scale_A = np.where(np.arange(14) % 7 == 6, 1, 180 / np.pi).astype(np.float32)
    return in_all(
        episodes, joints=lambda e: e.joints * scale_A, actions=lambda e: e.actions * scale_A
    )


def gripper_percent(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    scale_A = np.where(np.arange(14) % 7 == 6, 100, 1).astype(np.float32)
    return in_all(episodes, actions=lambda e: e.actions * scale_A)


def millimetres(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_all(episodes, clouds=lambda e: [attrs.evolve(c, xyz=1000 * c.xyz) for c in e.clouds])


def relative(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_all(episodes, actions=lambda e: e.actions - e.joints)


def present_state(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_all(episodes, actions=lambda e: np.array(e.joints))


def outlier(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    def spoiled(episode: Episode) -> Any:
        _, actions_TA = arrays(episode)
        actions_TA[rng.integers(len(actions_TA)), moving_joint(episode, rng)] = 50.0
        return actions_TA

    return in_one(episodes, rng, actions=spoiled)


def dead_joint(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    k = int(rng.integers(len(episodes)))
    joints_TA, _ = arrays(episodes[k])
    joint = moving_joint(episodes[k], rng)
    joints_TA[:, joint] = joints_TA[0, joint]
    return [attrs.evolve(e, joints=joints_TA) if i == k else e for i, e in enumerate(episodes)]


def backwards(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    def times(episode: Episode) -> Any:
        times_T = np.arange(len(episode.joints)) * 0.1  # type: ignore[arg-type]
        at = rng.integers(1, len(times_T))
        times_T[at:] -= 0.5
        return times_T

    return in_one(episodes, rng, times=times)


def reversed_frames(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_all(
        episodes,
        joints=lambda e: np.array(e.joints)[::-1],
        actions=lambda e: np.array(e.actions)[::-1],
    )


def drift(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    def drifted(episode: Episode) -> Any:
        joints_TA, _ = arrays(episode)
        joint = moving_joint(episode, rng)
        span = max(np.ptp(np.asarray(e.joints)[:, joint]) for e in episodes)
        joints_TA[:, joint] += np.linspace(0, max(1.2, 0.8 * span), len(joints_TA))
        return joints_TA

    return in_one(episodes, rng, joints=drifted)


def missing_frames(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    """A joint jumps in the middle of an episode, as if another episode was appended."""

    def joined(episode: Episode) -> tuple[Any, Any]:
        joints_TA, actions_TA = arrays(episode)
        joint, at = moving_joint(episode, rng), int(rng.integers(3, len(joints_TA) - 3))
        joints_TA[at:, joint] += 3.5
        actions_TA[at - 1 :, joint] += 3.5
        return joints_TA, actions_TA

    k = int(rng.integers(len(episodes)))
    joints_TA, actions_TA = joined(episodes[k])
    changed = attrs.evolve(episodes[k], joints=joints_TA, actions=actions_TA)
    return [changed if i == k else e for i, e in enumerate(episodes)]


def still(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    k = int(rng.integers(len(episodes)))
    joints_TA, actions_TA = arrays(episodes[k])
    joints_TA[:], actions_TA[:] = joints_TA[0], joints_TA[0]
    changed = attrs.evolve(episodes[k], joints=joints_TA, actions=actions_TA)
    return [changed if i == k else e for i, e in enumerate(episodes)]


def every_frame_twice(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    def twice(array: Any) -> Any:
        return np.repeat(np.asarray(array[:]), 2, axis=0)

    return [
        attrs.evolve(
            e,
            rgb=twice(e.rgb),
            joints=twice(e.joints),
            actions=twice(e.actions),
            clouds=None if e.clouds is None else [c for c in e.clouds for _ in range(2)],
            state={name: twice(value) for name, value in e.state.items()},
        )
        for e in episodes
    ]


def _with_images(episodes: Episodes, rng: np.random.Generator, value: Any) -> Episodes:
    def images(episode: Episode) -> Any:
        rgb = np.array(episode.rgb[:])
        camera = rng.integers(rgb.shape[1])
        rgb[:, camera] = value(rgb[:, camera])
        return rgb

    return in_one(episodes, rng, rgb=images)


def saturated(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_images(episodes, rng, lambda _: 255)


def black(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_images(episodes, rng, lambda images: images // 64)


def frozen(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    """The first camera, which is not that of a hand, is frozen."""

    def images(episode: Episode) -> Any:
        rgb = np.array(episode.rgb[:])
        rgb[:, 0] = rgb[:1, 0]
        return rgb

    return in_one(episodes, rng, rgb=images)


def _with_cloud(
    episodes: Episodes, rng: np.random.Generator, change: Callable[[PointCloud], PointCloud]
) -> Episodes:
    def clouds(episode: Episode) -> Any:
        assert episode.clouds is not None
        at = rng.integers(len(episode.clouds))
        return [change(c) if i == at else c for i, c in enumerate(episode.clouds)]

    return in_one(episodes, rng, clouds=clouds)


def cloud_of_nan(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_cloud(episodes, rng, lambda c: attrs.evolve(c, xyz=np.full_like(c.xyz, np.nan)))


def cloud_colours(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_cloud(episodes, rng, lambda c: attrs.evolve(c, rgb=c.rgb // 255))


def cloud_empty(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_cloud(episodes, rng, lambda c: PointCloud(xyz=c.xyz[:0], rgb=c.rgb[:0]))


def cloud_far(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return _with_cloud(episodes, rng, lambda c: attrs.evolve(c, xyz=c.xyz + np.float32(300)))


def cloud_missing(episodes: Episodes, rng: np.random.Generator) -> Episodes:
    return in_one(episodes, rng, clouds=None)


FAULTS: dict[str, tuple[Callable[[Episodes, np.random.Generator], Episodes], str]] = {
    "lengths differ": (lengths, "invalid"),
    "degrees": (degrees, "degrees"),
    "grippers from 0 to 100": (gripper_percent, "gripper_range"),
    "millimetres": (millimetres, "cloud"),
    "relative actions": (relative, "relative"),
    "actions equal to the joints": (present_state, "present_state"),
    "an outlier": (outlier, "outlier"),
    "a dead joint": (dead_joint, "dead_joint"),
    "time goes backwards": (backwards, "time"),
    "frames in reverse order": (reversed_frames, "order"),
    "joints drift from actions": (drift, "drift"),
    "missing frames": (missing_frames, "jump"),
    "an episode without motion": (still, "still"),
    "every frame twice": (every_frame_twice, "still"),
    "a saturated camera": (saturated, "camera"),
    "a black camera": (black, "camera"),
    "a frozen camera": (frozen, "camera"),
    "a cloud of NaN": (cloud_of_nan, "cloud"),
    "colours of another scale": (cloud_colours, "cloud"),
    "an empty cloud": (cloud_empty, "cloud"),
    "a cloud far away": (cloud_far, "cloud"),
    "an episode without clouds": (cloud_missing, "cloud"),
}
