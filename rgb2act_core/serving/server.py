"""The policy server: many simulators, one policy, over sockets.

A client says who it is, then drives one episode after another: ``hello``, ``reset``, ``observe``,
``act``. What it does wrong is told and ends its connection, and nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from rgb2act_wire import LIMIT, Channel, Closed, WireError, array, field

from ..errors import UserError
from ..features.encoder import build_backbones
from ..pipeline.run_record import read_run
from ..policy.batch_planner import BatchPlanner, open_encoders
from ..policy.saving import load_policy
from ..spec.conditions import seen_backbones
from ..store.stage_id import Stage, StageId
from ..system.devices import device_of
from .access import CLIENTS, same
from .sessions import Session, Sessions

VERSION = 1  # of the messages; that of the client
STRANGER = 4096  # bytes that a message may have before its sender has said who it is
PATIENCE = 10.0  # seconds in which it is to say so
TAKEN = 60.0  # seconds in which an answer is to be taken


@attrs.frozen(kw_only=True)
class Served:
    """Say what a server offers."""

    run: str
    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    image: tuple[int, int]
    action_names: tuple[str, ...]
    n_obs_steps: int
    n_action_steps: int
    batch: int

    def plain(self) -> dict[str, Any]:
        """Return this in plain values."""
        return attrs.asdict(self, value_serializer=lambda _, __, value: _plain(value))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def load(folder: Path, batch: int | None = None) -> tuple[Served, Sessions]:
    """Load a finished run's policy to be served; raise UserError when it cannot be.

    Up to ``batch`` sessions are planned for at once, by default as many as the run's episodes.
    Neither data nor environment of the run need be there.
    """
    recorded = read_run(folder)
    run = recorded.run
    device = device_of(run.spec.compute)
    policy = load_policy(recorded.stage_folder(StageId(Stage.TRAIN)), device)
    if run.spec.act.compile:
        policy.compile_plans()
    shape = policy.shape
    if shape.condition == "oracle":
        raise UserError(
            f"{folder}: its policy sees the true state, which no client can tell; serve another"
        )
    count = batch or min(run.spec.act.parallel_episodes, run.spec.act.episodes)
    encoders = open_encoders(policy, build_backbones(seen_backbones(run.spec), device), device)
    planner = BatchPlanner(policy, encoders, count, device)
    if run.spec.act.compile:
        planner.warm(run.spec.act.candidates)  # so that no client waits for the compiler
    served = Served(
        run=run.spec.name,
        tasks=shape.tasks,
        cameras=shape.cameras,
        image=shape.image,
        action_names=shape.action_names,
        n_obs_steps=shape.n_obs_steps,
        n_action_steps=shape.n_action_steps,
        batch=count,
    )
    return served, Sessions(planner, run.spec.act)


class Server:
    """Accept clients and lead each in a thread of its own."""

    def __init__(
        self, listener: socket.socket, served: Served, sessions: Sessions, token: str | None
    ) -> None:
        self.listener, self.served, self.sessions = listener, served, sessions
        self.token = token
        self.channels: set[Channel] = set()
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()

    def run(self) -> None:
        """Accept clients until the process is interrupted."""
        while True:
            connection, address = self.listener.accept()
            name = f"{address[0]}:{address[1]}"
            thread = threading.Thread(target=self._lead, args=(connection, name))
            self.threads = [thread, *(t for t in self.threads if t.is_alive())]
            thread.start()

    def close(self) -> None:
        """Send every client away and end."""
        self.listener.close()
        with self.lock:
            for channel in self.channels:
                with contextlib.suppress(OSError):
                    channel.connection.shutdown(socket.SHUT_RDWR)
        self.sessions.close()
        for thread in self.threads:
            thread.join()

    def _lead(self, connection: socket.socket, name: str) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        channel = Channel(connection, limit=STRANGER, answers=True)
        try:
            with self._counted(channel):
                self._greet(channel)
                session = self.sessions.begin()
                try:
                    while True:
                        message = channel.receive()
                        channel.send(self._answer(session, message), TAKEN)
                finally:
                    session.close()
        except Closed:
            pass  # its own wish
        except (WireError, UserError) as err:
            print(f"client {name} sent away: {err}", file=sys.stderr, flush=True)
            with contextlib.suppress(WireError):
                channel.send({"kind": "error", "what": str(err)}, TAKEN)
        finally:
            channel.close()

    @contextlib.contextmanager
    def _counted(self, channel: Channel) -> Iterator[None]:
        with self.lock:
            if len(self.channels) >= CLIENTS:
                raise UserError(f"hello: {CLIENTS} clients are connected; try later")
            self.channels.add(channel)
        try:
            yield
        finally:
            with self.lock:
                self.channels.discard(channel)

    def _greet(self, channel: Channel) -> None:
        message = channel.receive(PATIENCE)
        if message.get("kind") != "hello" or message.get("version") != VERSION:
            raise UserError(
                f"hello: expected version {VERSION}, got {message.get('kind')!r} version"
                f" {message.get('version')!r}; use the client of this rgb2act"
            )
        given = field(message, "token", (str, type(None)))
        if self.token is not None and not same(given, self.token):
            raise UserError(f"hello: the token is {'wrong' if given else 'missing'}")
        channel.limit = LIMIT
        channel.send({"kind": "policy", **self.served.plain()}, TAKEN)

    def _answer(self, session: Session, message: dict[str, Any]) -> dict[str, Any]:
        kind = field(message, "kind", str)
        if kind == "reset":
            task = field(message, "task", str) if "task" in message else None
            session.reset(field(message, "seed", int), task)
            return {"kind": "ready"}
        if kind == "observe":
            rgb = array(message, "rgb", "uint8", (None, None, None, None, 3))
            session.observe(rgb, array(message, "joints", "float32", (None, None)))
            return {"kind": "seen"}
        if kind == "act":
            return {"kind": "actions", "actions": session.act(), "missing": session.missing}
        raise UserError(f"{kind!r}: no such message; use the client of this rgb2act")
