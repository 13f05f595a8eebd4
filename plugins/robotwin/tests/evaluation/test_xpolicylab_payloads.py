"""XPolicyLab's server and payloads of wrong types, and connections that send nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rgb2act_robotwin.evaluation import xpolicylab, xpolicylab_messages
from rgb2act_robotwin.evaluation.xpolicylab_connection import Connection, Trials
from rgb2act_robotwin.evaluation.xpolicylab_messages import FrameError
from websockets.exceptions import InvalidStatus
from websockets.sync import server as websockets_server
from websockets.sync.client import connect
from xpolicylab_client import packed, unpacked

from rgb2act_core.serving import listen

TOKEN = "word"
SIZE = (4, 6)


class FakeSession:
    """A session that accepts images of the right size and plans zeros."""

    missing, plans, far_inputs = 0, 0, 0

    def reset(self, seed: int, task: str | None) -> None:
        pass

    def observe(self, rgb: Any, joints: Any) -> str | None:
        assert joints.shape == (1, 14)
        self.far_inputs += int(np.abs(joints).max() > 10)
        return "observe: left_joint1 is 90" if self.far_inputs == 1 else None

    def act(self) -> Any:
        return np.zeros((2, 14), np.float32)

    def close(self) -> None:
        pass


def trials() -> Trials:
    sessions: Any = SimpleNamespace(
        begin=FakeSession,
        config=SimpleNamespace(tasks=("a",), cameras=("head_camera",), image=SIZE),
    )
    return Trials(sessions, "bgr")


def observation() -> dict[str, Any]:
    return {
        "env_idx": 0,
        "vision": {"cam_head": {"color": np.zeros((*SIZE, 3), np.uint8)}},
        "state": {
            "left_arm_joint_state": [0.0] * 6,
            "left_ee_joint_state": np.zeros(1),
            "right_arm_joint_state": np.zeros(6, np.float32),
            "right_ee_joint_state": 0.5,
        },
    }


def request(kind: str, payload: Any, **more: Any) -> dict[str, Any]:
    ids = {"message_type": kind, "message_id": "1", "evaluation_id": "e", "trial_id": "t"}
    return {**ids, "step": 0, "payload": payload, **more}


def ask(connection: Connection, frame: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of the reply to a frame that was sent over the network."""
    data = connection.answer(xpolicylab_messages.unpack(msgpack.packb(frame, default=packed)))
    assert data is not None
    reply = msgpack.unpackb(data, object_hook=unpacked, strict_map_key=False)
    return dict(reply["payload"])


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20)
    | st.sampled_from(
        [np.zeros((4, 6, 3), np.uint8), np.zeros(3), np.zeros((0, 2)), np.ones(6, "?")]
    )
)
anything = st.recursive(
    plain,
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=8,
)
PATHS = (
    ("infer", ()),
    ("infer", ("observation",)),
    ("infer", ("observation", "env_idx")),
    ("infer", ("observation", "vision")),
    ("infer", ("observation", "vision", "cam_head")),
    ("infer", ("observation", "vision", "cam_head", "color")),
    ("infer", ("observation", "state")),
    ("infer", ("observation", "state", "left_arm_joint_state")),
    ("infer", ("observation", "state", "right_ee_joint_state")),
    ("call", ("func_name",)),
    ("call", ("obs",)),
    ("reset", ()),
    ("reset", ("seed",)),
    ("reset", ("task_name",)),
    ("prepare_case", ("seed",)),
    ("trial_end", ("success",)),
)


def changed(value: Any, path: tuple[str, ...], new: Any) -> Any:
    if not path:
        return new
    return value | {path[0]: changed(value.get(path[0], {}), path[1:], new)}


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(PATHS),
    anything,
    st.sampled_from(["get_action", "get_action_batch", "update_obs", "update_obs_batch"]),
)
def test_values_of_any_type_get_a_reply(
    path: tuple[str, tuple[str, ...]], new: Any, name: str
) -> None:
    kind, keys = path
    connection = Connection(trials(), "one")
    ask(connection, request("reset", {"seed": 1}))
    payloads: dict[str, Any] = {
        "infer": {"observation": observation()},
        "call": {"func_name": name, "obs": None},
    }
    payload = changed(payloads.get(kind, {}), keys, new)
    try:
        reply = ask(connection, request(kind, payload))
    except FrameError:
        return
    assert reply.get("ok") or reply["message"]
    assert ask(connection, request("reset", {"seed": 1}))["ok"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["message_type", "message_id", "evaluation_id", "trial_id", "step"]), anything
)
def test_an_envelope_of_any_type_gets_a_reply_or_is_refused(name: str, new: Any) -> None:
    connection = Connection(trials(), "one")
    with contextlib.suppress(FrameError):
        ask(connection, request("infer", {"observation": observation()}, **{name: new}))


def test_wrong_types_are_named() -> None:
    connection = Connection(trials(), "one")
    ask(connection, request("reset", {}))
    for path, new, message in (
        (("env_idx",), [1], "env_idx: expected an integer, got list"),
        (("vision",), [1], "vision: expected a map, got list"),
        (("state",), 3, "state: expected a map, got int"),
        (
            ("state", "left_arm_joint_state"),
            ["a"] * 6,
            "state 'left_arm_joint_state': expected 6 numbers, got str32",
        ),
        (("vision", "cam_head", "color"), "x", "color: expected an array or a JPEG, got str"),
    ):
        payload = {"observation": changed(observation(), path, new)}
        assert message in ask(connection, request("infer", payload))["message"]


def test_far_inputs_are_reported_once_and_counted() -> None:
    connection = Connection(trials(), "one")
    ask(connection, request("reset", {}))
    far = changed(observation(), ("state", "right_ee_joint_state"), 100.0)
    replies = [
        ask(connection, request("infer", {"observation": far}, step=step, message_id=str(step)))
        for step in range(2)
    ]
    assert [reply["far_inputs"] for reply in replies] == [1, 2]
    assert replies[0]["warning"] == "observe: left_joint1 is 90"
    assert "warning" not in replies[1]


def test_a_jpeg_of_another_size_is_refused_before_it_is_decoded() -> None:
    import simplejpeg

    connection = Connection(trials(), "one")
    ask(connection, request("reset", {}))
    image = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    payload = {"observation": changed(observation(), ("vision", "cam_head", "color"), image)}
    reply = ask(connection, request("infer", payload))
    assert "JPEG of 'head_camera' has 8x8 pixels; send 4x6" in reply["message"]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    listener, started = listen("127.0.0.1", 0), threading.Event()
    number, servers, accept = listener.getsockname()[1], [], websockets_server.serve

    def accepting(*args: Any, **options: Any) -> Any:
        servers.append(accept(*args, **options))
        started.set()
        return servers[0]

    monkeypatch.setattr(websockets_server, "serve", accepting)
    thread = threading.Thread(
        target=xpolicylab.serve, args=(listener, trials().sessions, TOKEN, "bgr")
    )
    thread.start()
    assert started.wait(30)
    yield number
    servers[0].shutdown()
    thread.join()
    listener.close()


def test_connections_that_send_no_token_leave_places_for_clients(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"ws://127.0.0.1:{port}/"
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(268)
        ]
        silent[-1].sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
        with connect(f"{url}?token={TOKEN}", proxy=None) as client:
            client.send(msgpack.packb(request("hello", {})))
            assert b"hello_ack" in client.recv(timeout=60)
        with pytest.raises(InvalidStatus, match="401"), connect(url, proxy=None):
            pass
        assert silent[0].recv(1) == b""
    assert "Traceback" not in capfd.readouterr().err
