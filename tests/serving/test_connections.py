"""Connections of a server: those without the token use no client's place and end soon."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rgb2act_client
from lost_signals import interrupted_elsewhere

from rgb2act_core.errors import UserError
from rgb2act_core.serving import PolicyInfo, Server, access, connections
from rgb2act_core.serving.connections import Connections
from rgb2act_core.serving.latency import Latencies

TOKEN = "long random word"
INFO = PolicyInfo(
    run="fake",
    tasks=("lift",),
    cameras=("head",),
    image=(2, 3),
    action_names=("a", "b"),
    n_obs_steps=1,
    n_action_steps=2,
    history_stride=1,
    batch=1,
)


class FakeSession:
    """A session that plans zeros and accepts every observation."""

    missing = far_inputs = late_plans = 0

    def __init__(self) -> None:
        self.latencies = Latencies()

    def reset(self, seed: int, task: str | None) -> None:
        pass

    def observe(self, rgb: Any, joints: Any) -> str | None:
        return None

    def act(self, seconds: float | None) -> Any:
        return np.zeros((2, 2), np.float32)

    def begin(self) -> FakeSession:
        return self

    def close(self) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """Serve in a thread; yield the address."""
    listener = access.listen("127.0.0.1", 0)
    host, port = listener.getsockname()
    sessions: Any = FakeSession()
    server = Server(listener, INFO, sessions, TOKEN)
    thread = threading.Thread(target=serve, args=(server,))
    thread.start()
    yield f"{host}:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    server.close()


def serve(server: Server) -> None:
    with contextlib.suppress(OSError):
        server.run()


def silent(address: str, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Return connections that send nothing."""
    host, port = address.split(":")
    return [
        stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        for _ in range(count)
    ]


def episode(address: str) -> None:
    with rgb2act_client.Client(address, TOKEN) as policy:
        policy.reset(0)
        policy.observe(np.zeros((1, 2, 3, 3), np.uint8), [0, 0])
        assert policy.act().shape == (2, 2)


def test_silent_connections_take_no_clients_place(address: str) -> None:
    with contextlib.ExitStack() as stack:
        opened = silent(address, 300, stack)
        start = time.monotonic()
        episode(address)
        assert time.monotonic() - start < connections.HELLO_SECONDS
        assert opened[0].recv(1) == b""  # the newer ones took its place


def test_silent_connections_are_closed_after_seconds(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgb2act_core.serving import server

    monkeypatch.setattr(server, "HELLO_SECONDS", 0.05)
    with contextlib.ExitStack() as stack:
        (opened,) = silent(address, 1, stack)
        assert opened.recv(1) == b""


def test_clients_have_a_limit_of_their_own() -> None:
    places = Connections(clients=2, unknown=1)
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(3)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        places.admit(pairs[0][0])
        places.admit(pairs[1][0])
        with pytest.raises(UserError, match="all 2 connections are in use; try again later"):
            places.admit(pairs[2][0])
        pairs[0][0].close()  # its place is free again
        places.admit(pairs[2][0])
        places.shut_down()
        for _, theirs in pairs:
            assert theirs.recv(1) == b""


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_lack_of_resources_closes_the_oldest_unknown_connection(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    places = Connections()
    with access.listen("127.0.0.1", 0) as listener, contextlib.ExitStack() as stack:
        host, port = listener.getsockname()
        first, _ = silent(f"{host}:{port}", 2, stack)
        stack.enter_context(places.accept(listener)[0])
        accept, failures = socket.socket.accept, [OSError(code, "no"), OSError(code, "no")]

        def failing(listener: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return accept(listener)

        monkeypatch.setattr(connections, "RETRY_SECONDS", 0.001)
        monkeypatch.setattr(socket.socket, "accept", failing)
        stack.enter_context(places.accept(listener)[0])
        assert first.recv(1) == b""


@pytest.mark.parametrize("limit", [120, 60, 40])
def test_a_low_limit_of_open_files_leaves_places_for_clients(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (limit, limit))
    places = Connections()
    assert places.most_clients >= 1
    assert places.most_unknown >= 1
    assert places.most_clients + places.most_unknown <= max(limit - connections.SPARE_FILES, 2)


def test_a_signal_that_does_not_interrupt_the_wait_ends_it_soon() -> None:
    with (
        access.listen("127.0.0.1", 0) as listener,
        interrupted_elsewhere(listener),
        pytest.raises(KeyboardInterrupt),
    ):
        Connections().accept(listener)
