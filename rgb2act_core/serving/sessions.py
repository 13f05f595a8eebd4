"""Sessions: one episode each, planned together in batches.

Frames are encoded per session. Plans are sampled in batches of a fixed size, and an episode's seed
determines its slot in the batch, as in evaluation, because floating-point results may depend on
batch size and slot. The actions of a session therefore do not depend on other clients.

A request with a deadline is answered in time: if its plan is late, with the continuation of the
plans before it. The late plan is finished and continues them; until then, observations are kept.

Shapes: k = observations, V = cameras, H W = pixels, A = all action dimensions, n = n_action_steps
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..policy.batch_planner import BatchPlanner, Candidates
from ..policy.config import PolicyConfig
from ..policy.observation_checks import check_observation
from ..policy.planner import Planner, batch_slot
from ..policy.rollout import Rollout, plan_rollouts
from ..spec import Act
from .latency import Latencies

WINDOW = 0.005  # seconds that a request waits for others to join its batch


@attrs.define(eq=False)
class _Request:
    session: Session
    slot: int
    rollout: Rollout
    actions: Future[NDArray[np.float32]] = attrs.field(factory=Future)  # (n, A)
    step: int = attrs.field(init=False)  # of the episode, at the time of the request
    late: bool = False  # whether the client has been answered without it
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.step = self.rollout.step

    def finish(self, candidates: Candidates) -> None:
        """Answer with the plan, or add it to the episode if the client has been answered."""
        with self.lock:
            if self.late:
                self.rollout.add(candidates, self.step)
                self.actions.set_result(self.rollout.commands[-1])
            else:
                self.actions.set_result(self.rollout.next(candidates))

    def answer(self, seconds: float | None) -> tuple[NDArray[np.float32], bool]:
        """Return the actions, and whether the plan was not finished after ``seconds``."""
        with contextlib.suppress(FutureTimeout):
            return self.actions.result(seconds), False
        with self.lock:
            if self.actions.done():
                return self.actions.result(), False
            self.late = True
            return self.rollout.continued(), True


class Sessions:
    """All sessions of a policy, planned in batches by one thread."""

    def __init__(self, planner: BatchPlanner, act: Act, window: float = WINDOW) -> None:
        self.planner, self.act, self.window = planner, act, window
        self.waiting: list[_Request] = []
        self.awaited: set[Session] = set()  # whose next request a batch waits for
        self.closing = False
        self.latencies = Latencies()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._work, name="planning", daemon=True)
        self.thread.start()

    @property
    def config(self) -> PolicyConfig:
        """The configuration of the policy."""
        return self.planner.policy.config

    def begin(self) -> Session:
        """Return a new session. The caller must close it."""
        return Session(self)

    def expect(self, session: Session) -> None:
        """Let the next batch wait for a request of this session, at most for the window."""
        with self.changed:
            self.awaited.add(session)

    def leave(self, session: Session) -> None:
        """Let no batch wait for a request of this session."""
        with self.changed:
            self.awaited.discard(session)
            self.changed.notify_all()

    def request(self, session: Session, seed: int, rollout: Rollout) -> _Request:
        """Request the next actions of an episode, to be planned in a batch with others."""
        request = _Request(session, batch_slot(seed, self.act, self.planner), rollout)
        with self.changed:
            if self.closing:
                raise UserError("act: the server is stopping; connect to another server")
            self.waiting.append(request)
            self.changed.notify_all()
        return request

    def close(self) -> None:
        """Stop the planning thread after its current batch."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.thread.join()

    def _work(self) -> None:
        while requests := self._gather():
            self._answer(requests)
        for request in self.waiting:
            _fail(request, UserError("act: the server is stopping; connect to another server"))

    def _gather(self) -> list[_Request]:
        """Return the next batch once every awaited session has a request or the window has passed.

        A session is awaited if its last request shared a batch and until it is late once: a client
        that is slow or silent does not delay the others.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closing)
            limit = time.monotonic() + self.window
            while not self.closing and len(self.waiting) < self.planner.batch and self._late():
                if not self.changed.wait(limit - time.monotonic()) and time.monotonic() >= limit:
                    self.awaited -= self._late()
            if self.closing:
                return []
            taken = {request.slot: request for request in reversed(self.waiting)}
            self.waiting = [request for request in self.waiting if request not in taken.values()]
            sessions = {request.session for request in taken.values()}
            self.awaited = self.awaited | sessions if len(sessions) > 1 else self.awaited - sessions
            return list(taken.values())

    def _late(self) -> set[Session]:
        return self.awaited - {request.session for request in self.waiting}

    def _answer(self, requests: list[_Request]) -> None:
        ready = {request.slot: request for request in requests if self._see(request)}
        rollouts = {slot: request.rollout for slot, request in ready.items()}
        try:
            with self.latencies.measured("plan"):
                plans = plan_rollouts(self.planner, self.act, rollouts) if rollouts else {}
        except Exception as err:
            for request in ready.values():
                _fail(request, err)
            return
        for slot, candidates in plans.items():
            try:
                ready[slot].finish(candidates)
            except Exception as err:  # of this client only, such as a plan that is not finite
                _fail(ready[slot], err)

    def _see(self, request: _Request) -> bool:
        try:
            with self.latencies.measured("encode"):
                self.planner.see([request.rollout.history])
        except Exception as err:
            _fail(request, err)
            return False
        return True


def _fail(request: _Request, error: Exception) -> None:
    if not isinstance(error, UserError):
        traceback.print_exception(error)
        error = UserError("act: the policy failed; see the server's output")
    request.actions.set_exception(error)


class Session:
    """One client's episodes, one at a time; not thread-safe.

    Every method raises UserError for invalid arguments.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.planner = Planner(sessions.planner, sessions.act, self._plan)
        self.begun = False  # whether there was an observation
        self.late_plans = 0
        """Requests of the episode that were answered before their plan was finished."""
        self._end: float | None = None  # when the present request must be answered
        self._running: _Request | None = None  # whose plan was late
        self._kept: list[list[tuple[NDArray[Any], NDArray[Any]]]] = []  # meanwhile, by chunk

    @property
    def task(self) -> str | None:
        """Return the task of the episode."""
        return self.planner.task

    @property
    def plans(self) -> int:
        """Return the number of plans of the episode so far."""
        return self.planner.plan_count

    @property
    def missing(self) -> int:
        """Return the number of unobserved steps that plans depended on, summed over plans."""
        return self.planner.missing

    @property
    def far_inputs(self) -> int:
        """Return the number of observations so far with joints far outside the training data."""
        return self.planner.far_inputs

    def reset(self, seed: int, task: str | None = None) -> None:
        """Start an episode, as ``Planner.reset`` does."""
        self.planner.reset(seed, task)
        self._running, self._kept, self.late_plans = None, [], 0

    def observe(self, rgb_kVHW3: NDArray[Any], joints_kA: NDArray[Any]) -> str | None:
        """Add the newest observations, oldest first.

        Returns a warning if joints are far outside the training data, once per session.
        """
        if self._running is not None:
            check_observation(self.sessions.config, rgb_kVHW3, joints_kA)
            self._kept[-1].append((rgb_kVHW3, joints_kA))
            return None
        reported = self.planner.warning
        self.planner.observe_many(rgb_kVHW3, joints_kA)
        if not self.begun:
            self.begun = True
            self.sessions.expect(self)
        return self.planner.warning if reported is None else None

    def act(self, seconds: float | None = None) -> NDArray[np.float32]:
        """Return the actions (n, A) to execute next.

        After ``seconds``, they are the continuation of the plans so far, and ``late_plans`` rises.
        """
        start, late = time.monotonic(), self.late_plans
        self._end = None if seconds is None else start + seconds
        actions = self._act()
        duration = time.monotonic() - start
        self.sessions.latencies.answered(duration, self.late_plans > late)
        return actions

    def _act(self) -> NDArray[np.float32]:
        if self._running is None:
            return self.planner.act()
        if not self._kept[-1]:
            raise UserError("act: no observation since the last plan; call observe first")
        try:
            self._running.actions.result(self._left())
        except FutureTimeout:
            with self._running.lock:
                if not self._running.actions.done():
                    self.late_plans += 1
                    self._kept.append([])
                    return self._running.rollout.continued()
            self._running.actions.result()
        chunks, self._kept, self._running = self._kept, [], None
        for i, chunk in enumerate(chunks):
            if i:
                self.planner.skip()
            for rgb_kVHW3, joints_kA in chunk:
                self.planner.observe_many(rgb_kVHW3, joints_kA)
        return self.planner.act()

    def _left(self) -> float | None:
        """Return the seconds until the deadline, if there is one."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def close(self) -> None:
        """Let no batch wait for this session. It continues if it acts again."""
        self.sessions.leave(self)

    def _plan(self, seed: int, rollout: Rollout) -> NDArray[np.float32]:
        request = self.sessions.request(self, seed, rollout)
        actions, late = request.answer(self._left())
        if late:
            self.late_plans += 1
            self._running, self._kept = request, [[]]
        return actions
