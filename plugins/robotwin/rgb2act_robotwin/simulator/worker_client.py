"""Speak to the worker that runs RoboTwin: start it, ask it, know when it is lost, end it.

The worker is a process of RoboTwin's own interpreter, or a thread of this one. Requests and replies
are maps over a socket pair that nobody else can reach; ``worker`` documents what they hold.
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

from rgb2act_core.errors import EnvironmentLost, UserError

from ..config import HERE, Robotwin

MODULE = "rgb2act_robotwin_worker"
FOLDER = Path(__file__).parent / "worker"
TAIL = 4000  # characters of the log that an error shows
T = TypeVar("T")
LEAVE = 5.0  # seconds that a worker has to end by itself


class Failed(Exception):  # noqa: N818 a reply, named as such
    """Say what the worker replied that it could not do; it goes on answering."""


class Host(Protocol):
    """Run the worker somewhere: what ``Worker`` needs of a process or a thread."""

    def tail(self) -> str:
        """Return the end of what it wrote."""

    def fate(self) -> str:
        """Return how it ended, or that it runs."""

    def end(self, wait: float) -> None:
        """End it, by force if it does not leave by itself."""


class Process:
    """Run the worker in another interpreter."""

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
                start_new_session=True,  # Ctrl-C is for us; and its children end with it
            )
        except OSError as err:
            self.log.close()
            raise UserError(
                f"robotwin.python: {str(python)!r} cannot be started ({err.strerror}); give the"
                " interpreter that RoboTwin is installed in, such as venv/bin/python"
            ) from err

    def tail(self) -> str:
        """Return the end of what it wrote."""
        self.log.seek(max(self.log.seek(0, os.SEEK_END) - TAIL, 0))
        return self.log.read().decode(errors="replace").strip()

    def fate(self) -> str:
        """Return how it ended, or that it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1)
            return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return "still ran"

    def end(self, wait: float) -> None:
        """End it with its children, by force if it does not leave by itself."""
        if self.log.closed:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(wait)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


class Thread:
    """Run the worker in this interpreter, where versions allow it."""

    def __init__(self, connection: socket.socket) -> None:
        if str(FOLDER) not in sys.path:
            sys.path.append(str(FOLDER))
        channel = rgb2act_wire.Channel(connection, answers=True)
        serve = import_module(f"{MODULE}.requests").serve
        self.thread = threading.Thread(target=serve, args=(channel,), daemon=True)
        self.thread.start()

    def tail(self) -> str:
        """Return nothing: it writes where we write."""
        return ""

    def fate(self) -> str:
        """Return whether it runs."""
        return "still ran" if self.thread.is_alive() else "ended"

    def end(self, wait: float) -> None:
        """Wait for it; a thread cannot be ended."""
        self.thread.join(wait)


class Worker:
    """Ask one worker, one question at a time.

    ``ask`` raises ``Failed`` with the worker's own words, and EnvironmentLost when it died, did not
    answer in time or answered nonsense; the worker is ended then, and gone.
    """

    def __init__(self, config: Robotwin) -> None:
        if config.python is None:
            raise UserError(
                "robotwin: acting needs RoboTwin's simulator; name the interpreter that it is"
                " installed in with [environment] python"
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
        # also when it is forgotten, or when this process ends
        self._finish = weakref.finalize(self, _finish, self.channel, self.host)

    def ask(self, kind: str, seconds: float, read: Callable[[Reply], T], **fields: Any) -> T:
        """Return what ``read`` makes of the worker's reply to one request."""
        if not self._finish.alive:
            raise EnvironmentLost("robotwin: the simulator is gone")
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
        """End the worker and return what to raise: why, how it ended, and its last output."""
        fate, tail = self.host.fate(), self.host.tail()
        self.host.end(0.0)
        self.close()
        said = f"; its last output:\n{tail}" if tail else "; it wrote nothing"
        return EnvironmentLost(f"robotwin: the simulator was lost at {why} (it {fate}){said}")

    def close(self) -> None:
        """End the worker; may be called again."""
        self._finish()


def _finish(channel: rgb2act_wire.Channel, host: Host) -> None:
    channel.close()  # which tells the worker to leave
    host.end(LEAVE)


class Reply:
    """Read a reply's fields; each raises WireError when it is missing or of another type."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message

    @property
    def kind(self) -> str:
        """Return what kind of reply it is."""
        return self.text("kind")

    def text(self, name: str) -> str:
        """Return a string."""
        return str(rgb2act_wire.field(self.message, name, str))

    def flag(self, name: str) -> bool:
        """Return a bool."""
        return bool(rgb2act_wire.field(self.message, name, bool))

    def count(self, name: str) -> int:
        """Return a whole number from 0 up."""
        value = int(rgb2act_wire.field(self.message, name, int))
        if value < 0:
            raise rgb2act_wire.WireError(
                f"field {name!r}: expected a number from 0 up, got {value}"
            )
        return value

    def table(self, name: str) -> dict[str, Any]:
        """Return a map whose keys are strings."""
        value: dict[str, Any] = rgb2act_wire.field(self.message, name, dict)
        if not all(isinstance(key, str) for key in value):
            raise rgb2act_wire.WireError(f"field {name!r}: expected names as keys")
        return value

    def part(self, name: str) -> Reply:
        """Return a map as something to read fields of."""
        return Reply(self.table(name))

    def array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array of finite numbers."""
        value = rgb2act_wire.array(self.message, name, dtype, shape)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise rgb2act_wire.WireError(f"field {name!r}: holds NaN or infinity")
        return value

    def has(self, name: str) -> bool:
        """Return whether a field is there and is not None."""
        return self.message.get(name) is not None
