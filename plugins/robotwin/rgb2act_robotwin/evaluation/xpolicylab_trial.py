"""One trial of XPolicyLab's protocol: its episodes, and the replies to its requests.

The client sends the newest observation when it requests actions, and some clients send all. The
trial keeps a history per environment, and replies contain the number of steps that a plan depended
on and that were not observed.

Shapes: V = cameras, H W = pixels, n = actions of one chunk
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

from rgb2act_core import UserError
from rgb2act_core.serving import Session, Sessions, client_log

from ..config import Colours
from . import xpolicylab_messages
from .deploy_files.xpolicylab import rgb2act_xpolicylab
from .xpolicylab_images import read_images

ENVIRONMENTS = 64  # per trial


@attrs.frozen
class _Answered:
    """The reply to a request, which is identified by its message id or its content."""

    message_id: str
    content: bytes  # digest
    name: str  # of the reply
    payload: dict[str, Any]


@attrs.define(eq=False)
class Trial:
    """Consecutive episodes of one client, which may continue on another connection."""

    sessions: Sessions
    colours: Colours  # compression of the images, see ``read_images``
    owner: object = None  # the connection that it is on; None while it has none
    left: float = 0.0  # time of the loss of its connection
    used: float = 0.0  # time of the newest request
    ids: tuple[str, str] | None = None  # evaluation and trial
    open: dict[int, Session] = attrs.field(factory=dict)  # by environment
    newest: list[int] = attrs.field(factory=list)  # environments observed last
    seed: int | None = None
    task: str | None = None  # None if the policy has only one
    prepared: int | None = None
    resets: int = 0
    step: int = -1  # of the newest request of actions
    last: _Answered | None = None
    warnings: list[str] = attrs.field(factory=list)  # about observations, not sent yet
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def answer(self, frame: dict[str, Any], resumed: bool) -> bytes:
        """Return the reply to a request; a repeated request gets the same reply.

        A client that lost its connection repeats its last request on the next one, with another
        message id. ``resumed`` is whether this is the first request of such a connection.
        """
        with self.lock:
            self.ids, self.used = ids_of(frame) or self.ids, time.monotonic()
            last, content = self.last, xpolicylab_messages.content_digest(frame)
            known = resumed or (last is not None and last.message_id == frame["message_id"])
            if last is not None and known and content == last.content:
                return xpolicylab_messages.reply(frame, last.name, last.payload)
            kind, payload = frame["message_type"], frame["payload"]
            handlers = {
                "prepare_case": ("prepare_case_ack", self._prepare),
                "reset": ("reset_result", self._reset),
                "infer": ("infer_result", self._infer),
                "call": ("call_result", self._call),
                "trial_end": ("trial_end_ack", self._trial_end),
            }
            name, handle = handlers[kind]
            result = {"ok": True} | handle(payload)
            self.step = _step(frame) if kind == "infer" else self.step
            self.last = _Answered(frame["message_id"], content, name, result)
            return xpolicylab_messages.reply(frame, name, result)

    def continues_with(self, frame: dict[str, Any]) -> bool:
        """Return whether a request can be this trial's next one or repeat its last one."""
        if self.ids is None or ids_of(frame) != self.ids or self.seed is None:
            return False
        return frame["message_type"] != "infer" or _step(frame) in (self.step, self.step + 1)

    def pause(self) -> None:
        """End the sessions of a trial without a connection, so that no batch waits for them.

        A request that is being answered is awaited. The next request continues the sessions.
        """
        with self.lock:
            if self.owner is None:
                for session in self.open.values():
                    session.close()

    def _prepare(self, case: dict[str, Any]) -> dict[str, Any]:
        seed = case.get("seed")
        self.prepared = seed if type(seed) is int else None
        self._name(case)
        return {}

    def _name(self, payload: dict[str, Any]) -> None:
        """Store the task's name, if the policy has several and the payload has one."""
        if len(self.sessions.config.tasks) > 1 and isinstance(payload.get("task_name"), str):
            self.task = payload["task_name"]

    def _reset(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Start an episode with the seed of the payload or of prepare_case, else the next seed."""
        seed = payload.get("seed")
        given = seed if type(seed) is int else self.prepared
        self.seed = self.resets if given is None else given
        self.prepared, self.resets, self.newest, self.step = None, self.resets + 1, [], -1
        self._name(payload)
        for session in self.open.values():
            session.reset(self.seed, self.task)
        return {"result": {"seed": self.seed}}

    def _infer(self, payload: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        self._see([payload.get("observation")])
        (actions,) = self._plan(self.newest)
        return {
            "actions": actions,
            "latency_ms": (time.perf_counter() - start) * 1000,
            **self._counts(),
        }

    def _call(self, payload: dict[str, Any]) -> dict[str, Any]:
        name, given = payload.get("func_name"), payload.get("obs")
        if name == "update_obs" or name == "update_obs_batch":
            self._see(given if name == "update_obs_batch" else [given])
            return self._warning()
        if name == "get_action":
            return {"result": self._plan(self.newest[-1:])[0], **self._counts()}
        if name == "get_action_batch":
            numbers = self.newest if given is None else _environments(given)
            return {"result": self._plan(numbers), **self._counts()}
        if name == "reset":
            return self._reset({})
        raise UserError(
            f"func_name {name!r}: is not supported; use update_obs, update_obs_batch, get_action,"
            " get_action_batch or reset"
        )

    def _trial_end(self, payload: dict[str, Any]) -> dict[str, Any]:
        missing = self._missing()
        if missing:
            client_log.print(f"seed {self.seed}: {missing} steps were not observed")
        plans = sum(session.plans for session in self.open.values())
        return {"result": {"plans": plans, "missing_steps": missing}}

    def _missing(self) -> int:
        return sum(session.missing for session in self.open.values())

    def _counts(self) -> dict[str, Any]:
        far = sum(session.far_inputs for session in self.open.values())
        return {"missing_steps": self._missing(), "far_inputs": far, **self._warning()}

    def _warning(self) -> dict[str, Any]:
        """Return the warnings that no reply has contained yet."""
        texts, self.warnings = self.warnings, []
        return {"warning": "; ".join(texts)} if texts else {}

    def _see(self, observations: Any) -> None:
        if not isinstance(observations, list) or not all(isinstance(o, dict) for o in observations):
            raise UserError("observation: expected a map, or a list of maps in a batch")
        self.newest = [rgb2act_xpolicylab.environment(observation) for observation in observations]
        config = self.sessions.config
        for number, observation in zip(self.newest, observations, strict=True):
            rgb_VHW3 = read_images(observation, config.cameras, config.image, self.colours)
            joints = rgb2act_xpolicylab.joints(observation)
            warning = self._session(number).observe(rgb_VHW3[None], joints[None])
            if warning:
                client_log.print(f"environment {number}: {warning}")
                self.warnings.append(warning)

    def _plan(self, numbers: list[int]) -> list[list[dict[str, Any]]]:
        if len(set(numbers)) < len(numbers):
            raise UserError(f"get_action: environments {numbers[:ENVIRONMENTS]} are not distinct")
        if not numbers:
            raise UserError("get_action: there is no observation; send one first")
        sessions = [self._session(number) for number in numbers]
        with ThreadPoolExecutor(len(sessions)) as pool:  # so that they are planned in one batch
            plans = pool.map(lambda session: session.act(), sessions)
            return [rgb2act_xpolicylab.actions(plan) for plan in plans]

    def _session(self, number: int) -> Session:
        if self.seed is None:
            raise UserError("no episode was started; reset first")
        if number not in self.open:
            if len(self.open) >= ENVIRONMENTS:
                raise UserError(
                    f"env_idx {number}: a trial has at most {ENVIRONMENTS} environments"
                )
            self.open[number] = self.sessions.begin()
            self.open[number].reset(self.seed, self.task)
        return self.open[number]


def ids_of(frame: dict[str, Any]) -> tuple[str, str] | None:
    """Return the ids of evaluation and trial in a request, or None if one is missing."""
    evaluation, trial = frame.get("evaluation_id"), frame.get("trial_id")
    if not (isinstance(evaluation, str) and isinstance(trial, str) and evaluation and trial):
        return None
    return evaluation, trial


def _step(frame: dict[str, Any]) -> int:
    step = frame.get("step")
    return step if type(step) is int else 0


def _environments(numbers: Any) -> list[int]:
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UserError("get_action_batch: expected a list of environment indices")
    return numbers
