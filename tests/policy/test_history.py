"""The observation history: which steps a policy observes, and how often frames are encoded."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.policy.batch_planner import BatchPlanner, PolicyEncoders
from rgb2act_core.policy.conditioning import Features
from rgb2act_core.policy.history import ObservationHistory


def observe(history: ObservationHistory, *steps: int) -> None:
    """Add frames whose joints are the number of their step."""
    for step in steps:
        history.add(np.full((1, 1, 2, 2, 3), step, np.uint8), np.full((1, 1), step, np.float32))


def observed_steps(history: ObservationHistory) -> list[int]:
    """Return the steps that the next plan observes."""
    history.features = dict.fromkeys(history.frames_without_features(), blank())
    return [int(joint) for joint in history.observation()[1][:, 0]]


def blank() -> Features:
    return Features(vector=torch.zeros(1))


def test_observed_frames_are_stride_steps_apart_and_the_first_is_repeated() -> None:
    history = ObservationHistory(3, 1, stride=4)
    observe(history, *range(3))
    assert observed_steps(history) == [0, 0, 2]
    observe(history, *range(3, 12))
    assert observed_steps(history) == [3, 7, 11]
    assert len(history.frames) == 9  # from the oldest to the newest observed step


@pytest.mark.parametrize("together", [1, 4, 12])
def test_frames_may_arrive_one_by_one_or_together(together: int) -> None:
    history = ObservationHistory(3, 1, stride=4)
    for first in range(0, 12, together):
        observe(history, *range(first, first + together))
    assert observed_steps(history) == [3, 7, 11]


def test_steps_that_no_plan_looks_at_need_no_observation() -> None:
    history = ObservationHistory(3, 1, stride=4)
    observe(history, 0)
    for step in (4, 8, 12):
        observe(history, step)
        history.delay(1, 3)
        assert history.missing() == 0
    assert observed_steps(history) == [4, 8, 12]


def test_an_unobserved_step_is_replaced_by_the_one_before_and_counted() -> None:
    history = ObservationHistory(2, 1)
    observe(history, 0)
    assert history.missing() == 0  # before the start, the first frame is repeated
    observe(history, 8)
    history.delay(1, 7)
    assert history.missing() == 1
    assert observed_steps(history) == [0, 8]
    observe(history, 15, 16)
    history.delay(2, 6)
    assert history.missing() == 0
    assert observed_steps(history) == [15, 16]


def test_gaps_do_not_let_the_history_grow() -> None:
    history = ObservationHistory(2, 2, stride=3)
    for step in range(0, 240, 8):
        observe(history, step)
        history.delay(1, 7 if step else 0)
        history.features |= dict.fromkeys(history.frames_without_features(), blank())
        history.parts[0] |= {step: {} for step in history.frames}
        history.drop_parts()
        for kept in (history.frames, history.features, history.parts[0]):
            assert len(kept) <= history.size + 1


# --- encoding ---


class CountingEncoder:
    """An encoder whose token of a frame is the number of its step; it counts encoded frames."""

    context = 1

    def __init__(self) -> None:
        self.encoded: Counter[int] = Counter()

    def encode_frames(self, rgb_FVHW3: np.ndarray) -> dict[str, torch.Tensor]:
        return {"rgb": torch.from_numpy(rgb_FVHW3)}

    def tokens(self, parts: Any, index_BK: np.ndarray, image: Any) -> torch.Tensor:
        numbers_B = parts["rgb"][index_BK[:, -1], 0, 0, 0, 0]
        self.encoded.update(numbers_B.tolist())
        return numbers_B.float().view(-1, 1, 1, 1)


def counting_planner(n_obs_steps: int, stride: int) -> tuple[BatchPlanner, CountingEncoder]:
    """Return a planner whose features of a frame are the number of its step."""
    config = SimpleNamespace(
        n_obs_steps=n_obs_steps, history_stride=stride, task_index=lambda task: 0
    )
    policy: Any = SimpleNamespace(
        config=config,
        reach=0,
        features=lambda tokens, states: Features(vector=tokens[0].flatten(1)),
    )
    encoder: Any = CountingEncoder()
    encoders = PolicyEncoders(encoders=(encoder,), fingerprint_errors=())
    return BatchPlanner(policy, encoders, 1, "cpu"), encoder


@pytest.mark.parametrize("n_action_steps", [1, 2, 8])
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_a_frame_is_encoded_at_most_once_however_many_steps_are_observed(
    stride: int, n_action_steps: int
) -> None:
    planner, encoder = counting_planner(8, stride)
    history, needed = planner.history(), set[int]()
    for newest in range(0, 100, n_action_steps):
        observe(history, *range(history.count, newest + 1))
        planner.see([history])
        steps = [max(newest - i * stride, 0) for i in range(7, -1, -1)]
        assert [int(feature.vector) for feature in history.observation()[0]] == steps
        needed.update(steps)
        assert len(history.features) <= len(history.frames) <= 7 * stride + 1
        assert not history.parts[0]  # a backbone that sees single frames needs no older ones
    assert encoder.encoded == Counter(needed)


def test_of_many_observations_only_the_needed_ones_are_kept() -> None:
    history = ObservationHistory(n_obs_steps=2, context=1)
    rgb, joints = np.zeros((50, 1, 8, 8, 3), np.uint8), np.arange(50, dtype=np.float32)[:, None]
    history.add(rgb, joints)
    assert history.count == 50
    assert sorted(history.frames) == [48, 49]
    assert history.newest.joints == [49]
    assert not any(np.shares_memory(frame.rgb, rgb) for frame in history.frames.values())
