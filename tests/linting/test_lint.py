"""Faults planted into sound recordings are found, and nothing else.

Shapes: T = frames of an episode
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_faults import FAULTS

from rgb2act_core.interfaces import EnvironmentInfo, Episode, Severity, Unit
from rgb2act_core.linting import Sample, check_episodes

Sound = Callable[..., list[Episode]]
SAMPLE = Sample(positions=4)
ALSO = {"relative": ("gripper_range",)}  # relative actions of grippers are below 0
RANDOM = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@RANDOM
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(20, 120), count=st.integers(1, 6))
def test_sound_motions_have_no_findings(
    sound: Sound, info: EnvironmentInfo, seed: int, frames: int, count: int
) -> None:
    episodes = sound(seed, count, frames=frames)
    assert [str(finding) for finding in check_episodes(episodes, info, SAMPLE)] == []


@pytest.mark.parametrize("name", FAULTS)
@settings(RANDOM, max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_random_fault_is_found(sound: Sound, info: EnvironmentInfo, name: str, seed: int) -> None:
    plant, rule = FAULTS[name]
    faulty = plant(sound(seed), np.random.default_rng(seed))
    findings = check_episodes(faulty, info, SAMPLE)
    found = {finding.rule for finding in findings}
    assert rule in found, list(map(str, findings))
    assert found <= {rule, *ALSO.get(rule, ())}


def test_a_finding_names_episode_joint_and_frame(sound: Sound, info: EnvironmentInfo) -> None:
    episodes = sound()
    actions_TA = np.array(episodes[2].actions)
    actions_TA[17, 3] = 50
    episodes[2] = attrs.evolve(episodes[2], actions=actions_TA)
    (finding,) = check_episodes(episodes, info)
    assert (finding.rule, finding.source, finding.frame) == ("outlier", "episode e2", 17)
    assert "left_joint3 of the actions is 50, all others are from" in finding.problem
    assert "normalise" in finding.remedy


def test_findings_of_one_rule_are_merged_and_counted(sound: Sound, info: EnvironmentInfo) -> None:
    plant, _ = FAULTS["degrees"]
    findings = check_episodes(plant(sound(), np.random.default_rng(0)), info)
    assert [(f.rule, f.subject, f.others) for f in findings] == [
        ("degrees", "joints", 3),
        ("degrees", "actions", 3),
    ]
    assert all(finding.severity is Severity.ERROR for finding in findings)
    assert "(and in 3 other episodes)" in str(findings[0])


@pytest.mark.parametrize(
    ("unit", "scale"), [(Unit.DEGREES, 180 / np.pi), (Unit.PERCENT, 60.0), (Unit.OTHER, 256.0)]
)
def test_declared_units_are_no_errors(
    sound: Sound, info: EnvironmentInfo, unit: Unit, scale: float
) -> None:
    """Data in degrees or percent, as SO-100 arms record them."""
    grippers = [Unit.PERCENT if name.endswith("gripper") else unit for name in info.action_names]
    scale_A = np.array([100 if name.endswith("gripper") else scale for name in info.action_names])
    declared = attrs.evolve(info, units=tuple(grippers))
    episodes = [
        attrs.evolve(
            e,
            joints=(e.joints * scale_A).astype(np.float32),
            actions=(e.actions * scale_A).astype(np.float32),
        )
        for e in sound()
    ]
    assert check_episodes(episodes, declared, SAMPLE) == []
    rules = {finding.rule for finding in check_episodes(episodes, info)}
    assert "gripper_range" in rules
    assert "degrees" in rules


def test_radians_where_degrees_are_declared(sound: Sound, info: EnvironmentInfo) -> None:
    units = [Unit.FRACTION if n.endswith("gripper") else Unit.DEGREES for n in info.action_names]
    findings = check_episodes(sound(), attrs.evolve(info, units=tuple(units)))
    assert [finding.rule for finding in findings] == ["radians"]


def test_hands_in_millimetres(sound: Sound, info: EnvironmentInfo) -> None:
    with_hands = attrs.evolve(info, state_names=("hands",), hand_states=("hands",))

    def episodes(scale: float) -> list[Episode]:
        hands = {"hands": np.full((60, 2, 3), 0.4 * scale, np.float32)}
        return [attrs.evolve(episode, state=hands) for episode in sound()]

    assert check_episodes(episodes(1), with_hands) == []
    assert check_episodes(sound(), with_hands) == []  # recorded without the positions
    (finding,) = check_episodes(episodes(1000), with_hands)
    assert (finding.rule, finding.subject) == ("millimetres", "hands")


def test_idle_arm_and_constant_gripper_are_sound(sound: Sound, info: EnvironmentInfo) -> None:
    def idle(array: Any) -> Any:
        array = np.array(array)
        array[:, 7:] = array[0, 7:]
        return array

    episodes = [
        attrs.evolve(episode, joints=idle(episode.joints), actions=idle(episode.joints[1:]))
        for episode in sound()
    ]
    episodes = [
        attrs.evolve(e, actions=np.concatenate([e.actions, e.actions[-1:]])) for e in episodes
    ]
    assert check_episodes(episodes, info) == []


@pytest.mark.parametrize(("camera", "found"), [("left_camera", []), ("head", ["camera"])])
def test_camera_of_an_idle_hand_may_repeat_its_image(
    sound: Sound, info: EnvironmentInfo, camera: str, found: list[str]
) -> None:
    def one_arm(array: Any) -> Any:
        array = np.array(array)
        array[:, :7] = array[0, :7]
        return array

    episodes = [
        attrs.evolve(
            e,
            cameras=(camera,),
            rgb=np.repeat(e.rgb[:1], len(e.rgb[:]), axis=0),
            joints=one_arm(e.joints),
            actions=one_arm(e.actions),
        )
        for e in sound()
    ]
    findings = check_episodes(episodes, attrs.evolve(info, cameras=(camera,)), SAMPLE)
    assert [finding.rule for finding in findings] == found


def test_a_camera_that_is_slower_than_the_joints(sound: Sound, info: EnvironmentInfo) -> None:
    episodes = [attrs.evolve(e, rgb=np.repeat(e.rgb[::3], 3, axis=0)) for e in sound()]
    (finding,) = check_episodes(episodes, info, Sample(positions=8))
    assert finding.rule == "camera"
    assert "repeats its image in" in finding.problem


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (lambda t: np.minimum(t, 3.0), "does not advance"),
        (lambda t: t + 5 * (t > 2), "frames are missing"),
        (lambda t: t / 5, "the environment declares 10.0 Hz"),
        (lambda t: t[:-1], "has 59 times for 60 frames"),
    ],
)
def test_times(sound: Sound, info: EnvironmentInfo, times: Any, message: str) -> None:
    sound_T = np.arange(60) / 10
    (episode,) = sound(count=1)
    assert check_episodes([attrs.evolve(episode, times=sound_T)], info) == []
    findings = check_episodes([attrs.evolve(episode, times=times(sound_T))], info)
    assert message in "\n".join(map(str, findings))


def test_an_episode_that_occurs_twice_is_a_note(sound: Sound, info: EnvironmentInfo) -> None:
    episodes = sound()
    copy = attrs.evolve(episodes[1], name="copy")
    (finding,) = check_episodes([*episodes, copy], info)
    assert (finding.rule, finding.severity) == ("duplicate_episode", Severity.NOTE)
    assert "as episode e1" in finding.problem


def test_images_and_clouds_are_read_only_with_a_sample(sound: Sound, info: EnvironmentInfo) -> None:
    plant, _ = FAULTS["a black camera"]
    faulty = plant(sound(), np.random.default_rng(0))
    assert check_episodes(faulty, info) == []
    (finding,) = check_episodes(faulty, info, SAMPLE)
    assert "camera head delivers a black image" in finding.problem


def test_no_episodes(info: EnvironmentInfo) -> None:
    assert check_episodes([], info, SAMPLE) == []
