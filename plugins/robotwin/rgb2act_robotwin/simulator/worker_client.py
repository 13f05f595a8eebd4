"""Client of the worker that runs RoboTwin: start it, send requests, notice its loss, stop it.

The worker is a process of RoboTwin's interpreter, or a thread of this one. Requests and replies are
maps over a private socket pair; ``rgb2act_robotwin_worker`` documents them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
import rgb2act_wire
from numpy.typing import NDArray

from rgb2act_core import EnvironmentLost, UserError

from ..config import HERE, Robotwin

MODULE = "rgb2act_robotwin_worker"
FOLDER = Path(__file__).parent / "worker"
TAIL = 4000  # characters of the log that errors show
T = TypeVar("T")
LEAVE = 5.0  # seconds that a worker has to exit


class Failed(Exception):  # noqa: N818 a reply, not a fault of the worker
    """The worker could not do what was requested; it still answers requests."""


class Host(Protocol):
    """The process or thread that runs the worker."""

    def tail(self) -> str:
        """Return the end of its output."""

    def fate(self) -> str:
        """Return how it ended, or that it is still running."""

    def end(self, wait: float) -> None:
        """Wait for its exit, then kill it."""


class Process:
    """A worker in another interpreter."""

    def __init__(self, python: Path, connection: socket.socket) -> None:
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed by ``end``
        number = connection.fileno()
        try:
            self.process = subprocess.Popen(
                # the path of a virtual environment's interpreter is not resolved: it may be a link
                [str(python.absolute()), "-m", MODULE, str(number), rgb2act_wire.__file__],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(FOLDER), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C does not reach it, and its children end with it
            )
        except OSError as err:
            self.log.close()
            raise UserError(
                f"robotwin.python: {str(python)!r} cannot be started ({err.strerror}); give the"
                " interpreter that RoboTwin is installed in, such as venv/bin/python"
            ) from err

    def tail(self) -> str:
        """Return the end of its output."""
        self.log.seek(max(self.log.seek(0, os.SEEK_END) - TAIL, 0))
        return self.log.read().decode(errors="replace").strip()

    def fate(self) -> str:
        """Return how it ended, or that it is still running."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1)
            return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return "is still running"

    def end(self, wait: float) -> None:
        """Wait for its exit, then kill it and its children."""
        if self.log.closed:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(wait)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


class Thread:
    """A worker in this interpreter, where RoboTwin's version requirements allow it."""

    def __init__(self, connection: socket.socket) -> None:
        if str(FOLDER) not in sys.path:
            sys.path.append(str(FOLDER))
        channel = rgb2act_wire.Channel(connection, answers=True)
        serve = import_module(f"{MODULE}.requests").serve
        self.thread = threading.Thread(target=serve, args=(channel,), daemon=True)
        self.thread.start()

    def tail(self) -> str:
        """Return an empty string: it shares the output of this process."""
        return ""

    def fate(self) -> str:
        """Return whether it is running."""
        return "is still running" if self.thread.is_alive() else "ended"

    def end(self, wait: float) -> None:
        """Wait for its exit; a thread cannot be killed."""
        self.thread.join(wait)


class Worker:
    """A running worker, which answers one request at a time.

    ``ask`` raises ``Failed`` with the worker's error message. It raises EnvironmentLost if the
    worker died, did not answer in time or sent an invalid reply; the worker is then stopped.
    """

    def __init__(self, config: Robotwin) -> None:
        if config.python is None:
            raise UserError(
                "robotwin: acting needs RoboTwin's simulator; set [environment] python to the"
                " interpreter that it is installed in"
            )
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(ours.close)
            if config.python == HERE:
                self.host: Host = Thread(theirs)
            else:
                with theirs:
                    self.host = Process(Path(config.python), theirs)
            stack.pop_all()
        self.channel = rgb2act_wire.Channel(ours)
        # also on garbage collection and at exit of this process
        self._finish = weakref.finalize(self, _finish, self.channel, self.host)

    def ask(self, kind: str, seconds: float, read: Callable[[Reply], T], **fields: Any) -> T:
        """Send one request and return the result of ``read`` on the reply."""
        if not self._finish.alive:
            raise EnvironmentLost("robotwin: the simulator was stopped")
        try:
            self.channel.send({"kind": kind, **fields}, seconds)
            reply = Reply(self.channel.receive(seconds))
            if reply.kind == "error":
                raise Failed(reply.text("what"), reply.text("where"))
            if reply.kind != "ok":
                raise rgb2act_wire.WireError(
                    f"field 'kind': expected 'ok' or 'error', got {reply.kind!r}"
                )
            return read(reply)
        except rgb2act_wire.WireError as err:
            raise self.lost(f"{kind!r}: {err}") from err

    def lost(self, why: str) -> EnvironmentLost:
        """Stop the worker and return the error: the reason, how it ended, its last output."""
        fate, tail = self.host.fate(), self.host.tail()
        self.host.end(0.0)
        self.close()
        output = f"; its last output:\n{tail}" if tail else "; it had no output"
        return EnvironmentLost(f"robotwin: the simulator was lost at {why} (it {fate}){output}")

    def close(self) -> None:
        """Stop the worker; may be called again."""
        self._finish()


def _finish(channel: rgb2act_wire.Channel, host: Host) -> None:
    channel.close()  # the worker exits on that
    host.end(LEAVE)


class Reply:
    """Fields of a reply; each raises WireError if it is missing or of another type."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message

    @property
    def kind(self) -> str:
        """The kind of the reply."""
        return self.text("kind")

    def text(self, name: str) -> str:
        """Return a string."""
        return str(rgb2act_wire.field(self.message, name, str))

    def flag(self, name: str) -> bool:
        """Return a bool."""
        return bool(rgb2act_wire.field(self.message, name, bool))

    def count(self, name: str) -> int:
        """Return an integer of at least 0."""
        value = int(rgb2act_wire.field(self.message, name, int))
        if value < 0:
            raise rgb2act_wire.WireError(
                f"field {name!r}: expected an integer of at least 0, got {value}"
            )
        return value

    def table(self, name: str) -> dict[str, Any]:
        """Return a map whose keys are strings."""
        value: dict[str, Any] = rgb2act_wire.field(self.message, name, dict)
        if not all(isinstance(key, str) for key in value):
            raise rgb2act_wire.WireError(f"field {name!r}: expected string keys")
        return value

    def part(self, name: str) -> Reply:
        """Return a map as a reply with its own fields."""
        return Reply(self.table(name))

    def array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array of finite numbers."""
        value = rgb2act_wire.array(self.message, name, dtype, shape)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise rgb2act_wire.WireError(f"field {name!r}: contains NaN or infinity")
        return value

    def has(self, name: str) -> bool:
        """Return whether a field exists and is not None."""
        return self.message.get(name) is not None
