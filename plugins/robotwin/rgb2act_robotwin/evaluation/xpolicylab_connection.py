"""Connections of XPolicyLab's clients, and the trials that outlive them.

XPolicyLab's client reconnects by itself in the middle of an episode: it sends ``hello`` and then
the same request again. It notices a lost connection only when it sends the next request, after the
simulator has executed a chunk. A trial is therefore kept for ``KEPT_SECONDS`` after its connection
was lost, and continues on the connection that sends its ids.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import attrs

from rgb2act_core import UserError
from rgb2act_core.serving import Sessions, client_log

from ..config import Colours
from . import xpolicylab_messages
from .xpolicylab_trial import Trial

KEPT_SECONDS = 600.0  # of a trial without a connection
KEPT = 256  # trials without a connection


@attrs.define(eq=False)
class Trials:
    """All trials of a server that have begun an episode."""

    sessions: Sessions
    colours: Colours  # compression of the images, see ``read_images``
    attached: list[Trial] = attrs.field(factory=list)
    kept: list[Trial] = attrs.field(factory=list)  # without a connection
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def begin(self, owner: object) -> Trial:
        """Return a new trial."""
        trial = Trial(self.sessions, self.colours, owner)
        with self.lock:
            self.attached.append(trial)
        return trial

    def leave(self, trial: Trial, owner: object, keep: bool = True) -> None:
        """Keep a trial whose connection was lost, or with ``keep=False`` forget it."""
        with self.lock:
            if trial.owner is not owner:
                return  # it continues on another connection
            trial.owner, trial.left = None, time.monotonic()
            self.attached.remove(trial)
            if keep and trial.seed is not None:
                self.kept = [*self._recent(), trial][-KEPT:]
        trial.pause()

    def take(self, frame: dict[str, Any], owner: object) -> Trial | None:
        """Return the trial that a request continues, or None.

        Its connection may still seem to be open, because nothing reports that a network is down.
        """
        with self.lock:
            self.kept = self._recent()
            found = [t for t in (*self.kept, *self.attached) if t.continues_with(frame)]
            if not found:
                return None
            trial = max(found, key=lambda trial: trial.used)
            if trial.owner is None:
                self.kept.remove(trial)
                self.attached.append(trial)
            trial.owner = owner
            return trial

    def _recent(self) -> list[Trial]:
        oldest = time.monotonic() - KEPT_SECONDS
        return [trial for trial in self.kept if trial.left >= oldest]


class Connection:
    """One connection of a client, and the replies to its frames."""

    def __init__(self, trials: Trials, instance: str) -> None:
        self.trials, self.instance = trials, instance
        self.trial = trials.begin(self)

    def answer(self, frame: dict[str, Any]) -> bytes | None:
        """Return the reply to a frame; None closes the connection."""
        kind = frame["message_type"]
        if kind == "close":
            self.close(keep=False)
            return None
        if kind == "hello":
            facts = {"ok": True, "server": "rgb2act", "server_instance_id": self.instance}
            return xpolicylab_messages.reply(frame, "hello_ack", facts)
        if kind == "heartbeat":
            return xpolicylab_messages.reply(frame, "heartbeat_ack", {"ok": True})
        if kind not in ("prepare_case", "reset", "infer", "call", "trial_end"):
            return _error(frame, "unknown_message_type", f"message_type {kind!r} is not supported")
        try:
            resumed = self._resume(frame)
            if self.trial.owner is not self:
                raise UserError("trial: it continues on another connection; reset to start another")
            return self.trial.answer(frame, resumed)
        except (UserError, ValueError) as err:
            code = f"{kind}_failed" if kind in ("infer", "call", "reset") else "internal"
            return _error(frame, code, str(err))

    def close(self, keep: bool = True) -> None:
        """Leave the trial, which is kept for a reconnect unless ``keep`` is False."""
        self.trials.leave(self.trial, self, keep)

    def _resume(self, frame: dict[str, Any]) -> bool:
        """Continue the trial of a lost connection if there is no episode on this one."""
        if self.trial.seed is not None or frame["message_type"] in ("prepare_case", "reset"):
            return False
        found = self.trials.take(frame, self)
        if found is None:
            return False
        self.trials.leave(self.trial, self, keep=False)
        self.trial = found
        client_log.print(f"trial {frame['trial_id']!r} continues on a new connection")
        return True


def _error(frame: dict[str, Any], code: str, text: str) -> bytes:
    return xpolicylab_messages.reply(frame, "error", {"code": code, "message": text, "details": {}})
