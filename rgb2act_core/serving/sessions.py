"""Sessions: one episode each, planned together in batches.

Frames are encoded per session. Plans are sampled in batches of a fixed size, and an episode's seed
determines its slot in the batch, as in evaluation, because floating-point results may depend on
batch size and slot. The actions of a session therefore do not depend on other clients.

Shapes: k = observations, V = cameras, H W = pixels, A = all action dimensions, n = n_action_steps
"""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import Future
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..policy.batch_planner import BatchPlanner
from ..policy.config import PolicyConfig
from ..policy.planner import Planner, batch_slot
from ..policy.rollout import Rollout, plan_rollouts
from ..spec import Act

WINDOW = 0.005  # seconds that a request waits for others to join its batch


@attrs.define(eq=False)
class _Request:
    session: Session
    slot: int
    rollout: Rollout
    actions: Future[NDArray[np.float32]] = attrs.field(factory=Future)  # (n, A)


class Sessions:
    """All sessions of a policy, planned in batches by one thread."""

    def __init__(self, planner: BatchPlanner, act: Act, window: float = WINDOW) -> None:
        self.planner, self.act, self.window = planner, act, window
        self.waiting: list[_Request] = []
        self.awaited: set[Session] = set()  # whose next request a batch waits for
        self.closing = False
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

    def plan(self, session: Session, seed: int, rollout: Rollout) -> NDArray[np.float32]:
        """Return the next actions (n, A) of an episode, planned in a batch with others."""
        request = _Request(session, batch_slot(seed, self.act, self.planner), rollout)
        with self.changed:
            if self.closing:
                raise UserError("act: the server is stopping; connect to another server")
            self.waiting.append(request)
            self.changed.notify_all()
        return request.actions.result()

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
            plans = plan_rollouts(self.planner, self.act, rollouts) if rollouts else {}
        except Exception as err:
            for request in ready.values():
                _fail(request, err)
            return
        for slot, candidates in plans.items():
            try:
                ready[slot].actions.set_result(rollouts[slot].next(candidates))
            except Exception as err:  # of this client only, such as a plan that is not finite
                _fail(ready[slot], err)

    def _see(self, request: _Request) -> bool:
        try:
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

    def observe(self, rgb_kVHW3: NDArray[Any], joints_kA: NDArray[Any]) -> str | None:
        """Add the newest observations, oldest first.

        Returns a warning if joints are far outside the training data, once per session.
        """
        reported = self.planner.warning
        self.planner.observe_many(rgb_kVHW3, joints_kA)
        if not self.begun:
            self.begun = True
            self.sessions.expect(self)
        return self.planner.warning if reported is None else None

    def act(self) -> NDArray[np.float32]:
        """Return the actions (n, A) to execute next."""
        return self.planner.act()

    def close(self) -> None:
        """Let no batch wait for this session. It continues if it acts again."""
        self.sessions.leave(self)

    def _plan(self, seed: int, rollout: Rollout) -> NDArray[np.float32]:
        return self.sessions.plan(self, seed, rollout)
