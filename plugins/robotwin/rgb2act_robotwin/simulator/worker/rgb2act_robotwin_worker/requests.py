"""Answer requests, one after another."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from rgb2act_wire import Channel, Closed, WireError, array, field

from .preflight import look
from .settings import Settings
from .simulation import Simulation

Message = dict[str, Any]


class Desk:
    """Hold the one simulation and know how to answer each kind of request."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None
        self.answers: dict[str, Callable[[Message], Message]] = {
            "look": self.look,
            "start": self.start,
            "screen": lambda m: self.running.screen(field(m, "seed", int)),
            "begin": self.begin,
            "step": self.step,
            "end": lambda m: self.running.end(),
            "record": lambda m: self.running.record(field(m, "seed", int)),
            "frame": lambda m: self.running.frame(field(m, "index", int)),
        }

    @property
    def running(self) -> Simulation:
        """Return the simulation; RuntimeError before ``start``."""
        if self.simulation is None:
            raise RuntimeError("nothing was started; send 'start' first")
        return self.simulation

    def look(self, message: Message) -> Message:
        """Return what is there and what is missing, for what runs unless told otherwise."""
        running = self.simulation
        root = running.root if running else None
        settings = running.settings if running else Settings()
        if "root" in message:
            root = field(message, "root", (str, type(None)))
        if "settings" in message:
            settings = Settings.of(field(message, "settings", dict))
        return {"facts": look(root, settings)}

    def start(self, message: Message) -> Message:
        """Import RoboTwin, once in the life of a process."""
        if self.simulation is not None:
            raise RuntimeError("a task runs already; start another worker for another task")
        simulation = Simulation(
            field(message, "task", str),
            field(message, "root", (str, type(None))),
            Settings.of(field(message, "settings", dict)),
        )
        facts = simulation.start()
        self.simulation = simulation
        return {"facts": facts}

    def begin(self, message: Message) -> Message:
        """Set up a scene to act in."""
        return self.running.begin(
            field(message, "seed", int),
            field(message, "instruction_seed", int),
            field(message, "info", dict) if "info" in message else None,
            observe=field(message, "observe", bool) if "observe" in message else True,
        )

    def step(self, message: Message) -> Message:
        """Act."""
        action = array(message, "action", "float64", (14,))
        return self.running.step(action, observe=field(message, "observe", bool))

    def answer(self, message: Message) -> Message:
        """Return the reply to a request, an error as a reply too."""
        try:
            kind = field(message, "kind", str)
            if kind not in self.answers:
                raise WireError(f"kind {kind!r} is not known; known are {', '.join(self.answers)}")
            return {"kind": "ok", **self.answers[kind](message)}
        except (Exception, SystemExit) as err:  # RoboTwin exits where something is not installed
            traceback.print_exc()
            return {"kind": "error", "what": f"{type(err).__name__}: {err}", "where": place(err)}


def place(err: BaseException) -> str:
    """Return file, line and function where an error arose."""
    frames = traceback.extract_tb(err.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def serve(channel: Channel) -> None:
    """Answer until the other side closes the connection."""
    desk = Desk()
    while True:
        try:
            reply = desk.answer(channel.receive())
            flush()
            channel.send(reply)
        except Closed:
            return
        except WireError as err:
            print(f"worker ends: {err}", file=sys.stderr)
            return


def flush() -> None:
    """Let the other side read all that RoboTwin printed before a reply."""
    sys.stdout.flush()
    sys.stderr.flush()
