"""Sessions: each leads one episode of its own, and all are planned for in one batch.

Frames are encoded session by session. Plans are drawn in batches of one size, in which an episode
has the place that its seed says, as in ``act``: sums of float32 may depend on the place. So what a
session is told does not depend on who else is connected.

Shapes: k = observations, V = cameras, H W = pixels, A = all action dimensions, n = n_action_steps
"""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..policy import rollout as course
from ..policy.config import PolicyConfig
from ..policy.planner import Planner
from ..policy.rollout import Rollout
from ..spec import Act

WINDOW = 0.005  # seconds that a request waits for others to be planned with


@attrs.define(eq=False)
class _Request:
    slot: int
    course: Rollout
    done: threading.Event = attrs.field(factory=threading.Event)
    actions_nA: NDArray[np.float32] | None = None
    error: Exception | None = None


class Sessions:
    """Plan for many sessions by one policy, in a thread of its own."""

    def __init__(self, planner: Planner, act: Act, window: float = WINDOW) -> None:
        self.planner, self.act, self.window = planner, act, window
        self.waiting: list[_Request] = []
        self.open, self.closing = 0, False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._work, name="planning", daemon=True)
        self.thread.start()

    @property
    def shape(self) -> PolicyConfig:
        """Return what the policy was built for."""
        return self.planner.policy.shape

    def begin(self) -> Session:
        """Return a new session; it is to be closed."""
        with self.changed:
            self.open += 1
        return Session(self)

    def end(self) -> None:
        """Count a session less: the others need not wait for it."""
        with self.changed:
            self.open -= 1
            self.changed.notify_all()

    def plan(self, seed: int, one: Rollout) -> NDArray[np.float32]:
        """Return the next actions (n, A) of an episode, planned together with others'."""
        request = _Request((seed - self.act.start) % self.planner.batch, one)
        with self.changed:
            if self.closing:
                raise UserError("act: the server is stopping; connect to another")
            self.waiting.append(request)
            self.changed.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error
        assert request.actions_nA is not None
        return request.actions_nA

    def close(self) -> None:
        """End the planning thread after the batch that it is at."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.thread.join()

    def _work(self) -> None:
        while requests := self._gather():
            self._answer(requests)
        for request in self.waiting:
            _fail(request, UserError("act: the server is stopping; connect to another"))

    def _gather(self) -> list[_Request]:
        """Return what is planned next, once all who are connected ask or the window is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closing)
            end = time.monotonic() + self.window
            while not self.closing and len(self.waiting) < min(self.planner.batch, self.open):
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    break
            if self.closing:
                return []
            taken = {request.slot: request for request in reversed(self.waiting)}
            self.waiting = [request for request in self.waiting if request not in taken.values()]
            return list(taken.values())

    def _answer(self, requests: list[_Request]) -> None:
        ready = {request.slot: request for request in requests if self._see(request)}
        courses = {slot: request.course for slot, request in ready.items()}
        try:
            actions = course.step_rollouts(self.planner, self.act, courses) if courses else {}
        except Exception as err:
            for request in ready.values():
                _fail(request, err)
            return
        for slot, actions_nA in actions.items():
            ready[slot].actions_nA = actions_nA
            ready[slot].done.set()

    def _see(self, request: _Request) -> bool:
        try:
            self.planner.see([request.course.history], [])
        except Exception as err:
            _fail(request, err)
            return False
        return True


def _fail(request: _Request, error: Exception) -> None:
    if not isinstance(error, UserError):
        traceback.print_exception(error)
        error = UserError("act: the policy failed; the server's output says how")
    request.error = error
    request.done.set()


class Session:
    """Lead one environment, an episode at a time; for one thread.

    Every method raises UserError for what is wrong with what it is given.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.seed: int | None = None
        self.task: str | None = None
        self.course: Rollout | None = None
        self.seen = 0  # observations since the last plan
        self.missing = 0  # steps of the episode whose observation never came

    @property
    def plans(self) -> int:
        """Return how many plans the episode has had."""
        return len(self.course.commands) if self.course else 0

    def reset(self, seed: int, task: str | None = None) -> None:
        """Begin an episode: same seed and observations, same plans.

        ``task`` names one of the policy's, of which there may be several.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"reset: seed is {seed!r}; give one from 0 to 2**63 - 1")
        self.sessions.shape.place(task)
        self.seed, self.course, self.seen, self.missing = seed, None, 0, 0
        self.task = task

    def observe(self, rgb_kVHW3: NDArray[Any], joints_kA: NDArray[Any]) -> None:
        """Remember the newest observations, oldest first."""
        if self.seed is None:
            raise UserError("observe: no episode has begun; reset first")
        self._check(rgb_kVHW3, joints_kA)
        if self.course is None:
            self.course = course.start_rollout(
                self.sessions.planner, self.sessions.act, self.seed, joints_kA[0], self.task
            )
        self.course.history.add(rgb_kVHW3, joints_kA)
        self.seen += len(rgb_kVHW3)

    def act(self) -> NDArray[np.float32]:
        """Return the actions (n, A) to execute next, each of which is to be observed."""
        if self.seed is None or self.course is None or not self.seen:
            raise UserError("act: nothing was seen since the last plan; observe first")
        if self.plans:
            self.missing += max(self.sessions.shape.n_action_steps - self.seen, 0)
        self.seen = 0
        return self.sessions.plan(self.seed, self.course)

    def close(self) -> None:
        """End the session."""
        self.sessions.end()

    def _check(self, rgb_kVHW3: NDArray[Any], joints_kA: NDArray[Any]) -> None:
        shape = self.sessions.shape
        wanted = (len(shape.cameras), *shape.image, 3)
        if rgb_kVHW3.dtype != np.uint8 or rgb_kVHW3.shape[1:] != wanted or not len(rgb_kVHW3):
            cameras, (height, width) = ", ".join(shape.cameras), shape.image
            raise UserError(
                f"observe: rgb is {rgb_kVHW3.dtype} {rgb_kVHW3.shape[1:]}, the policy sees uint8"
                f" {wanted}: {cameras} at {height}x{width}; send those cameras at that size"
            )
        names = shape.action_names
        if joints_kA.shape != (len(rgb_kVHW3), len(names)) or joints_kA.dtype != np.float32:
            raise UserError(
                f"observe: joints are {joints_kA.dtype} {joints_kA.shape[1:]}, the policy knows"
                f" float32 ({len(names)},): {', '.join(names)}; send these"
            )
        if not np.isfinite(joints_kA).all():
            raise UserError("observe: joints hold NaN or infinity; look at the simulator")
