"""Requests with a deadline: late plans are continued, counted, and used when they are finished."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import small_policy

from rgb2act_core.errors import UserError
from rgb2act_core.serving import Session, Sessions
from rgb2act_core.spec import Act

SOON, LONG = 0.02, 60.0  # seconds
STEPS = 4  # actions of a plan of 8 steps that are executed


class Gate:
    """Plans of a planner, held back while it is closed."""

    def __init__(self, planner: Any) -> None:
        self.opened, self.plan = threading.Event(), planner.plan
        self.opened.set()
        self.plans: list[np.ndarray] = []  # whole plans of the joints that the policy moves
        planner.plan = self.held

    def held(self, *args: Any) -> Any:
        assert self.opened.wait(LONG)
        found = self.plan(*args)
        self.plans.append(found[0].actions_PSA[0])
        return found


@pytest.fixture
def gated() -> Iterator[tuple[Session, Gate]]:
    """Return a session of a small policy in an episode, and the gate of its plans."""
    planner = small_policy.planner(*small_policy.build())
    sessions = Sessions(planner, Act(), window=0)
    session = sessions.begin()
    session.reset(0)
    gate = Gate(planner)
    yield session, gate
    gate.opened.set()
    sessions.close()


def observe(session: Session, count: int = 1, first: int = 0) -> None:
    """Observe random frames, numbered from ``first``."""
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        rgb = rng.integers(0, 256, (1, 2, *small_policy.IMAGE, 3), np.uint8)
        session.observe(rgb, rng.uniform(-1, 1, (1, 4)).astype(np.float32))


def moved(actions: np.ndarray) -> np.ndarray:
    return actions[:, list(small_policy.MOVED)]


def test_a_late_plan_is_continued_and_then_used(gated: tuple[Session, Gate]) -> None:
    session, gate = gated
    observe(session)
    session.act(LONG)
    gate.opened.clear()
    observe(session, STEPS, first=1)
    continued = session.act(SOON)
    np.testing.assert_array_equal(moved(continued), gate.plans[0][STEPS:])
    assert session.late_plans == 1
    observe(session, STEPS, first=5)
    gate.opened.set()
    session.act(LONG)
    assert (session.late_plans, session.plans, len(gate.plans)) == (1, 3, 3)


def test_plans_after_a_late_one_are_those_of_an_episode_without(
    gated: tuple[Session, Gate],
) -> None:
    session, gate = gated
    for late in (True, False):
        session.reset(0)
        observe(session)
        session.act()
        observe(session, 2, first=1)  # not every step is observed
        if late:
            gate.opened.clear()
            session.act(SOON)
            observe(session, 1, first=3)
            gate.opened.set()
        else:
            session.act()
            observe(session, 1, first=3)
        session.act()
    first, second = gate.plans[:3], gate.plans[3:]
    np.testing.assert_array_equal(first, second)


def test_the_last_action_is_repeated_after_the_end_of_a_plan(gated: tuple[Session, Gate]) -> None:
    session, gate = gated
    observe(session)
    session.act(LONG)
    gate.opened.clear()
    for chunk in (1, 2, 3):
        observe(session, STEPS, first=STEPS * chunk)
        continued = session.act(SOON)
        assert session.late_plans == chunk
    np.testing.assert_array_equal(moved(continued), np.tile(gate.plans[0][-1], (STEPS, 1)))


def test_the_joints_keep_still_if_the_first_plan_is_late(gated: tuple[Session, Gate]) -> None:
    session, gate = gated
    gate.opened.clear()
    observe(session)
    held = session.act(SOON)
    first = np.random.default_rng(0)
    first.integers(0, 256, (1, 2, *small_policy.IMAGE, 3), np.uint8)
    joints = first.uniform(-1, 1, (1, 4)).astype(np.float32)
    np.testing.assert_array_equal(held, np.tile(joints, (STEPS, 1)))


def test_a_late_plan_that_fails_is_an_error_of_the_next_request(
    gated: tuple[Session, Gate],
) -> None:
    session, gate = gated
    observe(session)
    session.act(LONG)
    gate.opened.clear()
    observe(session, STEPS, first=1)
    session.act(SOON)
    with pytest.raises(UserError, match="no observation since the last plan"):
        session.act(SOON)
    observe(session, 1, first=5)
    with pytest.raises(UserError, match="cameras"):
        session.observe(np.zeros((1, 3, *small_policy.IMAGE, 3), np.uint8), np.zeros((1, 4)))

    def plan(*_: Any) -> Any:
        raise UserError("the plan contains NaN")

    gate.plan = plan
    gate.opened.set()
    with pytest.raises(UserError, match="the plan contains NaN"):
        session.act(LONG)


def test_a_new_episode_does_not_wait_for_the_late_plan(gated: tuple[Session, Gate]) -> None:
    session, gate = gated
    gate.opened.clear()
    observe(session)
    session.act(SOON)
    session.reset(1)
    assert (session.late_plans, session.plans) == (0, 0)
    observe(session)
    gate.opened.set()
    session.act(LONG)
    assert (session.late_plans, session.plans) == (0, 1)


def test_latencies_are_counted(gated: tuple[Session, Gate]) -> None:
    session, gate = gated
    assert session.sessions.latencies.summary()["latency"]["plan"]["p50"] == 0
    observe(session)
    session.act(LONG)
    gate.opened.clear()
    observe(session, STEPS, first=1)
    session.act(SOON)
    found = session.sessions.latencies.summary()
    assert (found["plans"], found["late_plans"]) == (2, 1)
    answer = found["latency"]["answer"]
    assert answer["count"] == 2
    assert answer["max"] >= answer["p99"] >= answer["p50"] > 0
