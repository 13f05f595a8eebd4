"""Server of XPolicyLab's websocket protocol, which RoboTwin's newer tree uses for evaluation.

``xpolicylab_trial`` has the replies, ``xpolicylab_connection`` keeps trials through a reconnect.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from rgb2act_wire import LIMIT

from rgb2act_core import UserError
from rgb2act_core.serving import (
    Connections,
    PolicyInfo,
    Sessions,
    client_log,
    serve_in_thread,
    tokens_equal,
)

from ..config import Colours
from ..recorded.joint_states import ACTION_NAMES
from . import xpolicylab_messages
from .deploy_files.xpolicylab import rgb2act_xpolicylab
from .xpolicylab_connection import Connection, Trials
from .xpolicylab_messages import FrameError

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

UNREADABLE = 1007  # websocket close code for invalid data
INTERNAL_ERROR = 1011
QUEUE = 2  # received messages per connection; a client waits for each reply


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


def history_warning(info: PolicyInfo) -> str | None:
    """Return what to change if the policy learned from frames that the client does not send.

    XPolicyLab's client sends one frame per plan, so its frames are ``n_action_steps`` apart.
    """
    steps = info.n_action_steps
    if info.frames_observed == (0,):
        return None
    if info.n_obs_steps == 1 or info.history_stride == steps:
        return (
            f"{info.run}: learned from windows of consecutive frames, but XPolicyLab's client sends"
            f" one frame every {steps} steps; train with [policy] n_action_steps = 1, or with an"
            " aligner and backbones of single frames ([align] sample = 'step', context = 1)"
        )
    return (
        f"{info.run}: learned from {info.n_obs_steps} frames with history_stride ="
        f" {info.history_stride}, but XPolicyLab's client sends one frame every {steps} steps;"
        f" train with [policy] history_stride = {steps}, or with n_obs_steps = 1"
    )


class _Listener(socket.socket):
    """A listening socket that bounds the connections without the token."""

    def __init__(self, listener: socket.socket, connections: Connections) -> None:
        super().__init__(fileno=os.dup(listener.fileno()))
        self.connections = connections

    def accept(self) -> tuple[socket.socket, Any]:
        return self.connections.accept(self)


class _Handler:
    """Checks the token of each connection and answers its frames."""

    def __init__(self, trials: Trials, connections: Connections, token: str | None) -> None:
        self.trials, self.connections, self.token = trials, connections, token
        self.instance = uuid.uuid4().hex

    def check_token(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the refusal of a connection, or None if it is a client."""
        given = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if self.token is not None and not tokens_equal(given, self.token):
            text = "the token is missing or wrong: ws://HOST:PORT/?token=...\n"
            return connection.respond(HTTPStatus.UNAUTHORIZED, text)
        try:
            self.connections.admit(connection.socket)
        except UserError as err:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{err}\n")
        return None

    def serve_client(self, connection: ServerConnection) -> None:
        """Answer a client until it leaves."""
        from websockets.exceptions import ConnectionClosed

        client = Connection(self.trials, self.instance)
        try:
            # no name for the data, which would be kept until the next frame
            while reply := client.answer(_unpack(connection.recv())):
                connection.send(reply)
        except FrameError as err:
            client_log.print(f"client {connection.remote_address} disconnected: {err}")
            connection.close(UNREADABLE, str(err)[:100])
        except ConnectionClosed:
            pass  # by the client, or because a message was too large
        except Exception:
            traceback.print_exc()
            connection.close(INTERNAL_ERROR)
        finally:
            client.close()


def _unpack(data: str | bytes) -> dict[str, Any]:
    if isinstance(data, str):
        raise FrameError("not a frame: expected binary data, got text")
    return xpolicylab_messages.unpack(data)


def serve(listener: socket.socket, sessions: Sessions, token: str | None, colours: Colours) -> None:
    """Serve clients until the process is interrupted."""
    from websockets.sync.server import serve as accept

    connections = Connections()
    handler = _Handler(Trials(sessions, colours), connections, token)
    logger = logging.getLogger("rgb2act.xpolicylab")
    logger.setLevel(logging.CRITICAL)  # websockets logs a traceback for each invalid handshake
    # no pings: a client cannot answer them while its simulator works. Those of the client are
    # answered by the connection's receiving thread, also while a plan is computed
    with _Listener(listener, connections) as bounded:
        server = accept(
            handler.serve_client,
            sock=bounded,
            process_request=handler.check_token,
            open_timeout=connections.hello_seconds,
            max_size=LIMIT,
            max_queue=QUEUE,
            compression=None,
            ping_interval=None,
            logger=logger,
        )
        try:
            serve_in_thread(server, lambda opened: opened.serve_forever())
        finally:
            client_log.close()
