"""Server of XPolicyLab's websocket protocol, which RoboTwin's newer tree uses for evaluation.

Its client sends the newest observation when it requests actions, and the older client sends no
others. The server keeps a history per environment, and replies contain the number of steps that
were not obinfo.

Shapes: V = cameras, H W = pixels, n = actions of one chunk
"""

from __future__ import annotations

import socket
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import numpy as np
from numpy.typing import NDArray
from rgb2act_wire import LIMIT

from rgb2act_core import UserError
from rgb2act_core.serving import PolicyInfo, Session, Sessions, tokens_equal

from ..recorded import jpeg
from ..recorded.joint_states import ACTION_NAMES
from . import xpolicylab_messages
from .deploy_files.xpolicylab import rgb2act_xpolicylab
from .xpolicylab_messages import FrameError

ENVIRONMENTS = 64  # per connection
UNREADABLE = 1007  # websocket close code for invalid data


def check(info: PolicyInfo) -> None:
    """Raise UserError if the policy does not work with XPolicyLab's client."""
    if info.action_names != ACTION_NAMES:
        raise UserError(
            f"{info.run}: has actions {', '.join(info.action_names)}; RoboTwin has"
            f" {', '.join(ACTION_NAMES)}; serve a run of RoboTwin"
        )
    for camera in info.cameras:
        if camera not in rgb2act_xpolicylab.CAMERAS:
            raise UserError(
                f"{info.run}: uses {camera!r}, which XPolicyLab's client does not send; train"
                f" with {', '.join(rgb2act_xpolicylab.CAMERAS)}, or use RoboTwin's older tree"
            )


@attrs.define(eq=False)
class Connection:
    """The state of one connection, and the replies to its frames."""

    sessions: Sessions
    instance: str
    open: dict[int, Session] = attrs.field(factory=dict)  # by environment
    newest: list[int] = attrs.field(factory=list)  # environments observed last
    seed: int | None = None
    task: str | None = None  # None if the policy has only one
    prepared: int | None = None
    resets: int = 0

    def answer(self, frame: dict[str, Any]) -> bytes | None:
        """Return the reply to a frame; None closes the connection."""
        kind = frame["message_type"]
        if kind == "close":
            return None
        handlers = {
            "hello": ("hello_ack", self._hello),
            "heartbeat": ("heartbeat_ack", dict),
            "prepare_case": ("prepare_case_ack", lambda: self._prepare(frame["payload"])),
            "reset": ("reset_result", lambda: self._reset(frame["payload"])),
            "infer": ("infer_result", lambda: self._infer(frame["payload"])),
            "call": ("call_result", lambda: self._call(frame["payload"])),
            "trial_end": ("trial_end_ack", self._trial_end),
        }
        if kind not in handlers:
            return _error(frame, "unknown_message_type", f"message_type {kind!r} is not supported")
        name, handle = handlers[kind]
        try:
            return xpolicylab_messages.reply(frame, name, {"ok": True} | handle())
        except (UserError, ValueError) as err:
            failed = kind if kind in ("infer", "call", "reset") else "internal"
            return _error(frame, "internal" if failed == "internal" else f"{kind}_failed", str(err))

    def close(self) -> None:
        """End the sessions."""
        for session in self.open.values():
            session.close()

    def _hello(self) -> dict[str, Any]:
        return {"server": "rgb2act", "server_instance_id": self.instance}

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
        self.prepared, self.resets, self.newest = None, self.resets + 1, []
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
            "missing_steps": self._missing(),
        }

    def _call(self, payload: dict[str, Any]) -> dict[str, Any]:
        name, given = payload.get("func_name"), payload.get("obs")
        if name in ("update_obs", "update_obs_batch"):
            self._see(given if name == "update_obs_batch" else [given])
            return {}
        if name in ("get_action", "get_action_batch"):
            single = name == "get_action"
            numbers = self.newest if single or given is None else [int(n) for n in given]
            plans = self._plan(numbers[-1:] if single else numbers)
            return {"result": plans[0] if single else plans, "missing_steps": self._missing()}
        if name == "reset":
            return self._reset({})
        raise UserError(
            f"func_name {name!r}: is not supported; use update_obs, get_action (_batch) or reset"
        )

    def _trial_end(self) -> dict[str, Any]:
        missing = self._missing()
        if missing:
            print(f"seed {self.seed}: {missing} steps were not observed", file=sys.stderr)
        plans = sum(session.plans for session in self.open.values())
        return {"result": {"plans": plans, "missing_steps": missing}}

    def _missing(self) -> int:
        return sum(session.missing for session in self.open.values())

    def _see(self, observations: Any) -> None:
        if not isinstance(observations, list) or not all(isinstance(o, dict) for o in observations):
            raise UserError("observation: expected a map, or a list of maps in a batch")
        self.newest = [rgb2act_xpolicylab.environment(observation) for observation in observations]
        for number, observation in zip(self.newest, observations, strict=True):
            cameras = self.sessions.config.cameras
            views = [
                _decode_image(color) for color in rgb2act_xpolicylab.images(observation, cameras)
            ]
            if len({view.shape for view in views}) > 1:
                raise UserError(f"observation: images have sizes {[v.shape for v in views]}")
            joints = rgb2act_xpolicylab.joints(observation)
            self._session(number).observe(np.stack(views)[None], joints[None])

    def _plan(self, numbers: list[int]) -> list[list[dict[str, Any]]]:
        if len(set(numbers)) < len(numbers):
            raise UserError(f"get_action: environments {numbers[:ENVIRONMENTS]} are not distinct")
        if not numbers:
            raise UserError("get_action: there is no observation; send one first")
        sessions = [self._session(number) for number in numbers]
        with ThreadPoolExecutor(len(sessions)) as pool:  # so that they are planned in one batch
            return [rgb2act_xpolicylab.actions(plan) for plan in pool.map(Session.act, sessions)]

    def _session(self, number: int) -> Session:
        if self.seed is None:
            raise UserError("no episode was started on this connection; reset first")
        if number not in self.open:
            if len(self.open) >= ENVIRONMENTS:
                raise UserError(
                    f"env_idx {number}: a connection has at most {ENVIRONMENTS} environments"
                )
            self.open[number] = self.sessions.begin()
            self.open[number].reset(self.seed, self.task)
        return self.open[number]


def _decode_image(color: Any) -> NDArray[Any]:
    """Return an image as an array; some clients send JPEGs."""
    if isinstance(color, np.ndarray) and color.dtype == np.uint8 and color.ndim == 1:
        color = color.tobytes()
    if isinstance(color, bytes):
        return jpeg.decode(color)
    if not isinstance(color, np.ndarray):
        raise UserError(f"color: expected an array or a JPEG, got {type(color).__name__}")
    return color


def _error(frame: dict[str, Any], code: str, text: str) -> bytes:
    return xpolicylab_messages.reply(frame, "error", {"code": code, "message": text, "details": {}})


def _enable_keepalive(listener: socket.socket) -> None:
    """Let the system close connections to hosts that no longer respond, within minutes."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20}.items():
        if hasattr(socket, name):  # not on every system
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def serve(listener: socket.socket, sessions: Sessions, token: str | None) -> None:
    """Serve clients until the process is interrupted."""
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection
    from websockets.sync.server import serve as accept

    instance = uuid.uuid4().hex

    def check_token(connection: ServerConnection, request: Request) -> Response | None:
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if token is None or tokens_equal(given, token):
            return None
        return connection.respond(401, "the token is missing or wrong: ws://HOST:PORT/?token=...\n")

    def serve_client(connection: ServerConnection) -> None:
        client = Connection(sessions, instance)
        try:
            for data in connection:
                reply = client.answer(
                    xpolicylab_messages.unpack(data if isinstance(data, bytes) else b"")
                )
                if reply is None:
                    return
                connection.send(reply)
        except FrameError as err:
            print(f"client {connection.remote_address} disconnected: {err}", file=sys.stderr)
            connection.close(UNREADABLE, str(err)[:100])
        except ConnectionClosed:
            pass  # by the client, or because a message was too large
        finally:
            client.close()

    # no pings: a client cannot answer them while its simulator works
    _enable_keepalive(listener)
    with accept(
        serve_client,
        sock=listener,
        process_request=check_token,
        max_size=LIMIT,
        compression=None,
        ping_interval=None,
    ) as server:
        server.serve_forever()
