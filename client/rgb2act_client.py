"""Client of the rgb2act policy server, which ``rgb2act serve RUN`` starts.

    with Client("127.0.0.1:8790") as policy:
        policy.reset(seed=0)
        policy.observe(rgb, joints)
        while not done:
            for action in policy.act():
                rgb, joints, done = simulator.step(action)
                policy.observe(rgb, joints)

Shapes: V = cameras, H W = pixels, A = joints, n = actions of one chunk
"""

from __future__ import annotations

import os
import socket
import warnings
from typing import Any

import numpy as np

import rgb2act_wire as wire

VERSION = 1  # of the protocol; the server refuses other versions
TOKEN = "RGB2ACT_TOKEN"  # environment variable


class ServerError(Exception):
    """An error of the policy server or of the connection to it; the connection is closed."""


class Client:
    """Connection of one environment to a policy server.

    The server describes its policy in ``tasks``, ``cameras``, ``image`` (height, width),
    ``action_names``, ``n_obs_steps``, ``history_stride`` (steps between two observations that the
    policy looks at) and ``n_action_steps``.
    """

    def __init__(self, address: str, token: str | None = None, seconds: float = 300.0) -> None:
        """Connect to ``HOST:PORT``; raise ServerError when the server refuses or is not running.

        ``token`` is the server's access token, by default the environment variable RGB2ACT_TOKEN.
        Every call waits at most ``seconds`` for the server.
        """
        self.address, self.seconds = address, seconds
        self.channel = wire.Channel(_connect(address))
        token = os.environ.get(TOKEN) if token is None else token
        info = self._request({"kind": "hello", "version": VERSION, "token": token}, "policy")
        self.tasks: tuple[str, ...] = tuple(info["tasks"])
        self.cameras: tuple[str, ...] = tuple(info["cameras"])
        self.image: tuple[int, int] = tuple(info["image"])
        self.action_names: tuple[str, ...] = tuple(info["action_names"])
        self.n_obs_steps: int = info.get("n_obs_steps", 1)
        self.history_stride: int = info.get("history_stride", 1)
        self.n_action_steps: int = info["n_action_steps"]
        self.missing = 0  # steps that the episode's plans depended on and that were not observed
        self.far_inputs = 0  # observations with joints far outside the training data
        self.late = False  # whether the last actions continue earlier plans, as theirs was late
        self.late_plans = 0  # such actions of the episode

    def reset(self, seed: int, task: str | None = None) -> None:
        """Start an episode; the same seed and observations give the same actions.

        ``task`` is one of ``tasks`` and may be omitted if the policy has only one.
        """
        chosen = {} if task is None else {"task": task}
        self._request({"kind": "reset", "seed": int(seed), **chosen}, "ready")
        self.missing, self.late, self.late_plans = 0, False, 0

    def observe(self, rgb: Any, joints: Any) -> None:
        """Send the observation of one step: rgb uint8 (V, H, W, 3), RGB order, and joints (A,).

        Warns, once per connection, if joints are far outside the policy's training data, such as
        degrees where it was trained on radians.
        """
        images = np.asarray(rgb)[None]
        rows = np.asarray(joints, np.float32)[None]
        reply = self._request({"kind": "observe", "rgb": images, "joints": rows}, "seen")
        if reply.get("warning"):
            warnings.warn(f"policy server {self.address}: {reply['warning']}", stacklevel=2)

    def act(self, deadline_ms: float | None = None) -> Any:
        """Return the next action chunk, float32 (n, A); observe after each executed action.

        If ``history_stride`` equals ``n_action_steps``, observing after the last one is enough.
        With ``deadline_ms`` the server answers within that many milliseconds: if the new plan is
        not finished, with the continuation of the plans before it. ``late`` is then True. Servers
        of earlier versions ignore it.
        """
        self.ask(deadline_ms)
        return self.answer()

    def ask(self, deadline_ms: float | None = None) -> None:
        """Request actions without waiting, so that the server plans several environments at once.

        ``answer`` then returns the actions.
        """
        deadline = {} if deadline_ms is None else {"deadline_ms": float(deadline_ms)}
        self._send({"kind": "act", **deadline})

    def answer(self) -> Any:
        """Wait for the actions requested by ``ask``: float32 (n, A)."""
        reply = self._receive("actions")
        self.missing, self.far_inputs = reply["missing"], reply.get("far_inputs", 0)
        self.late, self.late_plans = reply.get("late", False), reply.get("late_plans", 0)
        return reply["actions"]

    def metrics(self) -> dict[str, Any]:
        """Return the server's counts of ``plans`` and ``late_plans``, and its ``latency``.

        ``latency`` has percentiles in milliseconds of ``encode``, ``plan``, ``wire`` and
        ``answer``, over all clients.
        """
        reply = self._request({"kind": "metrics"}, "metrics")
        return {name: value for name, value in reply.items() if name != "kind"}

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, message: dict[str, Any], kind: str) -> dict[str, Any]:
        self._send(message)
        return self._receive(kind)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.channel.send(message, self.seconds)
        except wire.WireError as err:
            raise ServerError(f"policy server {self.address}: {err}") from err

    def _receive(self, kind: str) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self.channel.receive(self.seconds)
        except wire.WireError as err:
            raise ServerError(
                f"policy server {self.address}: {err}; look at the server's output"
            ) from err
        if reply.get("kind") == kind:
            return reply
        self.close()
        if reply.get("kind") == "error":
            text = reply.get("what")
        else:
            text = f"expected a reply of kind {kind!r}, got {reply.get('kind')!r}"
        raise ServerError(f"policy server {self.address}: {text}")


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ServerError(f"policy server {address!r}: is not an address; give HOST:PORT")
    try:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=10)
    except OSError as err:
        raise ServerError(
            f"policy server {address}: cannot connect ({err}); start one with rgb2act serve RUN"
        ) from err
