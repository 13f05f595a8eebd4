"""Answer requests one after another."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from rgb2act_wire import Channel, Closed, WireError, array, field

from . import preflight
from .settings import Settings
from .simulation import Simulation

Message = dict[str, Any]


class Requests:
    """The simulation, and a handler for each kind of request."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None
        self.handlers: dict[str, Callable[[Message], Message]] = {
            "look": self.look,
            "start": self.start,
            "screen": lambda m: self.running.screen(field(m, "seed", int)),
            "begin": self.begin,
            "step": self.step,
            "scene": self.scene,
            "end": lambda m: self.running.end(),
            "record": lambda m: self.running.record(field(m, "seed", int)),
            "frame": lambda m: self.running.frame(field(m, "index", int)),
        }

    @property
    def running(self) -> Simulation:
        """The simulation; RuntimeError before ``start``."""
        if self.simulation is None:
            raise RuntimeError("no task was started; send 'start' first")
        return self.simulation

    def look(self, message: Message) -> Message:
        """Check the requirements, by default those of the running simulation."""
        running = self.simulation
        root, task = (running.root, running.task) if running else (None, None)
        settings = running.settings if running else Settings()
        if "root" in message:
            root = field(message, "root", (str, type(None)))
        if "settings" in message:
            settings = Settings.of(field(message, "settings", dict))
        if "task" in message:
            task = field(message, "task", str)
        return {"facts": preflight.look(root, settings, task)}

    def start(self, message: Message) -> Message:
        """Import RoboTwin, once per process."""
        if self.simulation is not None:
            raise RuntimeError("a task is already running; start another worker for another task")
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
            clouds=self._clouds(message),
            depth=self._depth(message),
        )

    def step(self, message: Message) -> Message:
        """Execute an action."""
        action = array(message, "action", "float64", (14,))
        observe = field(message, "observe", bool)
        clouds, depth = self._clouds(message), self._depth(message)
        return self.running.step(action, observe=observe, clouds=clouds, depth=depth)

    def scene(self, message: Message) -> Message:
        """Observe a frame of a scene without actions."""
        return self.running.scene(
            field(message, "seed", int),
            field(message, "frame", int) if "frame" in message else None,
            array(message, "joints", "float64", (14,)) if "joints" in message else None,
        )

    def _clouds(self, message: Message) -> bool:
        """Return whether point clouds are requested, by default as the settings have them."""
        if "clouds" in message:
            return bool(field(message, "clouds", bool))
        return self.running.settings.pointcloud

    def _depth(self, message: Message) -> bool:
        """Return whether depth is requested, by default as the settings have it."""
        if "depth" in message:
            return bool(field(message, "depth", bool))
        return self.running.settings.depth

    def answer(self, message: Message) -> Message:
        """Return the reply to a request; errors are replies too."""
        try:
            kind = field(message, "kind", str)
            if kind not in self.handlers:
                raise WireError(
                    f"kind {kind!r} is unknown; expected one of {', '.join(self.handlers)}"
                )
            return {"kind": "ok", **self.handlers[kind](message)}
        except (Exception, SystemExit) as err:  # RoboTwin exits if something is not installed
            traceback.print_exc()
            return {"kind": "error", "what": f"{type(err).__name__}: {err}", "where": location(err)}


def location(err: BaseException) -> str:
    """Return file, line and function where an error was raised."""
    frames = traceback.extract_tb(err.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def serve(channel: Channel) -> None:
    """Answer until the other side closes the connection."""
    requests = Requests()
    while True:
        try:
            reply = requests.answer(channel.receive())
            flush()
            channel.send(reply)
        except Closed:
            return
        except WireError as err:
            print(f"worker ends: {err}", file=sys.stderr)
            return


def flush() -> None:
    """Flush RoboTwin's output, so that it is complete before the reply."""
    sys.stdout.flush()
    sys.stderr.flush()
