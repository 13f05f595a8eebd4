"""Ask a policy server what to do: ``rgb2act serve`` listens, a simulator calls.

    with Client("127.0.0.1:8790") as policy:
        policy.reset(seed=0)
        policy.observe(rgb, joints)
        while not done:
            for action in policy.act():
                rgb, joints, done = simulator.step(action)
                policy.observe(rgb, joints)

Shapes: V = cameras, H W = pixels, A = joints, n = actions until the next plan
"""

from __future__ import annotations

import os
import socket
from typing import Any

import numpy as np
import rgb2act_wire as wire

VERSION = 1  # of the messages
TOKEN = "RGB2ACT_TOKEN"  # environment variable


class ServerError(Exception):
    """Say what went wrong between a policy server and its client; the connection is closed."""


class Client:
    """Drive one environment by a served policy.

    ``token`` is what the server was given, by default that of the environment variable
    RGB2ACT_TOKEN. Each answer is waited for ``seconds``. What a server serves is in ``tasks``,
    ``cameras``, ``image`` (height, width), ``action_names`` and ``n_action_steps``.
    """

    def __init__(self, address: str, token: str | None = None, seconds: float = 300.0) -> None:
        self.address, self.seconds = address, seconds
        self.channel = wire.Channel(_connected(address))
        token = os.environ.get(TOKEN) if token is None else token
        told = self._ask({"kind": "hello", "version": VERSION, "token": token}, "policy")
        self.tasks: tuple[str, ...] = tuple(told["tasks"])
        self.cameras: tuple[str, ...] = tuple(told["cameras"])
        self.image: tuple[int, int] = tuple(told["image"])
        self.action_names: tuple[str, ...] = tuple(told["action_names"])
        self.n_action_steps: int = told["n_action_steps"]
        self.missing = 0  # steps of the episode that were not observed

    def reset(self, seed: int, task: str | None = None) -> None:
        """Begin an episode: same seed and observations, same actions.

        ``task`` names one of the policy's, where it has several.
        """
        named = {} if task is None else {"task": task}
        self._ask({"kind": "reset", "seed": int(seed), **named}, "ready")
        self.missing = 0

    def observe(self, rgb: Any, joints: Any) -> None:
        """Tell what one step looks like: rgb uint8 (V, H, W, 3), RGB order, and joints (A,)."""
        images = np.asarray(rgb)[None]
        rows = np.asarray(joints, np.float32)[None]
        self._ask({"kind": "observe", "rgb": images, "joints": rows}, "seen")

    def act(self) -> Any:
        """Return the actions float32 (n, A) to execute next, each of which is to be observed."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Ask for actions without waiting, so that several environments are planned together."""
        self._send({"kind": "act"})

    def answer(self) -> Any:
        """Wait for the actions that were asked for."""
        told = self._receive("actions")
        self.missing = told["missing"]
        return told["actions"]

    def close(self) -> None:
        """End the session."""
        self.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, message: dict[str, Any], kind: str) -> dict[str, Any]:
        self._send(message)
        return self._receive(kind)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.channel.send(message, self.seconds)
        except wire.WireError as err:
            raise ServerError(f"policy server {self.address}: {err}") from err

    def _receive(self, kind: str) -> dict[str, Any]:
        try:
            told: dict[str, Any] = self.channel.receive(self.seconds)
        except wire.WireError as err:
            raise ServerError(f"policy server {self.address}: {err}; its output says more") from err
        if told.get("kind") == kind:
            return told
        self.close()
        text = told.get("what") if told.get("kind") == "error" else f"answered {told.get('kind')!r}"
        raise ServerError(f"policy server {self.address}: {text}")


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ServerError(f"policy server {address!r}: is no address; give HOST:PORT")
    try:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=10)
    except OSError as err:
        raise ServerError(
            f"policy server {address}: no connection ({err}); start one with rgb2act serve RUN"
        ) from err
