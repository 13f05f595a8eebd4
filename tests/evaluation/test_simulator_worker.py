"""Which frames of a chunk are observed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rgb2act_core.evaluation.simulator_worker import _Env
from rgb2act_core.plugins import registry
from rgb2act_core.plugins.components import Capability, Kind
from rgb2act_core.policy.history import ObservationHistory, frames_of_chunk

EVERY_STEP = frozenset(range(99))


def needed_at(step: int, windows: Sequence[tuple[int, int]]) -> set[int]:
    """Return the steps that a plan after ``step`` steps depends on; the first is repeated."""
    found = {step}
    for count, stride in windows:
        found = {max(n - stride * i, 0) for n in found for i in range(count)}
    return found


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize(
    "windows",
    [
        [(1, 1)],
        [(2, 1), (3, 1)],
        [(2, 8)],
        [(4, 3), (1, 1)],
        [(2, 8), (2, 1), (3, 2)],
    ],
    ids=str,
)
def test_frames_are_observed_if_a_plan_needs_them(
    windows: list[tuple[int, int]], chunk: int
) -> None:
    found = frames_of_chunk(windows, chunk)
    plans = range(0, 40 * chunk, chunk)
    needed = set().union(*(needed_at(step, windows) for step in plans))
    ended_by = {n: -(-n // chunk) * chunk for n in range(20 * chunk)}
    observed = {n for n, end in ended_by.items() if n == 0 or end - n in found}
    assert observed == {n for n in needed if n in ended_by}


def played(keep: frozenset[int], history: ObservationHistory) -> tuple[Any, list[int]]:
    """Play chunks of four steps; return the steps that rendered."""
    component = registry.find(Kind.ENVIRONMENT, "puppet")
    environment = component.build(component.tiny)
    simulator = environment.make()
    env = _Env(simulator, keep, False, environment.info, {Capability.IMAGE_SKIPPING})
    rendered, step = [], simulator.unwrapped.step
    observations = []

    def counted(action: Any) -> Any:
        found = step(action)
        if simulator.unwrapped.observe:
            rendered.append(simulator.unwrapped.count)
        return found

    simulator.step = counted
    result = env.reset(3, None, None)
    for _ in range(3):
        history.add(result.rgb, result.joints, steps=result.observed)
        history.features |= dict.fromkeys(history.frames, SimpleNamespace())
        steps = [history.observed(n) for n in history._steps_observed().tolist()]
        observations.append(np.stack([history.frames[n].rgb for n in steps]))
        result = env.step(np.zeros((4, 4), np.float32))
    return observations, rendered


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("frames", "stride", "expected"),
    [(2, 4, [4, 8, 11]), (2, 1, [3, 4, 7, 8, 11]), (1, 1, [4, 8]), (2, 2, [2, 4, 6, 8, 10])],
)
def test_only_needed_frames_are_rendered(frames: int, stride: int, expected: list[int]) -> None:
    """Observations equal those of an evaluation that renders every step."""
    keep = frames_of_chunk([(frames, stride)], 4)
    few, rendered = played(keep, ObservationHistory(frames, 1, stride=stride))
    every, all_steps = played(EVERY_STEP, ObservationHistory(frames, 1, stride=stride))
    assert all_steps == list(range(1, 12))
    for a, b in zip(few, every, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [n for n in rendered if n < 11] == [n for n in expected if n < 11]
