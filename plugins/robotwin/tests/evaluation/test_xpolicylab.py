"""XPolicyLab's websocket protocol, from a client that encodes messages as XPolicyLab does."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import robotwin_servers
from lost_signals import interrupted_elsewhere
from rgb2act_robotwin.evaluation import xpolicylab_messages
from rgb2act_robotwin.evaluation.xpolicylab_images import read_images
from rgb2act_robotwin.evaluation.xpolicylab_messages import FrameError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from xpolicylab_client import flat, observation, packed, unpacked

from rgb2act_core import UserError

pytestmark = pytest.mark.slow

SEED = 100_007


class Lab:
    """XPolicyLab's client: a request, its answer."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.count = connection, 0
        self.trial = uuid.uuid4().hex

    def ask(self, kind: str, payload: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Return the payload of the answer, which names its request."""
        self.count += 1
        frame = {"message_type": kind, "message_id": f"id-{self.count}", "evaluation_id": "e"}
        frame |= {
            "step": self.count,
            "trial_id": self.trial,
            "sent_at": "",
            "payload": payload or {},
        }
        data = self.exchange(msgpack.packb(frame | more, default=packed))
        answer = msgpack.unpackb(data, object_hook=unpacked, strict_map_key=False)
        assert answer["message_id"] == f"id-{self.count}"
        assert (answer["evaluation_id"], answer["trial_id"]) == ("e", self.trial)
        assert answer["step"] == self.count
        suffix = "result" if kind in ("reset", "infer", "call") else "ack"
        expected = "error" if "code" in answer["payload"] else f"{kind}_{suffix}"
        assert answer["message_type"] == expected
        return dict(answer["payload"])

    def exchange(self, data: bytes | str) -> bytes:
        self.connection.send(data)
        return bytes(self.connection.recv(timeout=60))

    def call(self, name: str, obs: Any = None) -> Any:
        return self.ask("call", {"func_name": name, "obs": obs})


def frame(kind: str, step: int, payload: dict[str, Any]) -> dict[str, Any]:
    """Return a decoded request."""
    return {"message_type": kind, "message_id": f"{kind} {step}", "step": step, "payload": payload}


@contextlib.contextmanager
def talking(where: dict[str, Any], path: str = "") -> Iterator[Lab]:
    url = f"ws://127.0.0.1:{where['port']}/{path}"
    with connect(url, compression=None, max_size=None, proxy=None) as connection:
        yield Lab(connection)


def test_a_client_that_sends_only_the_newest_observation(
    run: Path, recorded: Any, where: dict[str, Any]
) -> None:
    with talking(where) as lab:
        assert lab.ask("hello")["server"] == "rgb2act"
        assert lab.ask("heartbeat") == {"ok": True}
        assert lab.ask("prepare_case", {"seed": SEED, "task_name": "lift_pot"})["ok"]
        assert lab.ask("reset", {"seed": SEED})["result"] == {"seed": SEED}
        answers = [lab.ask("infer", {"observation": observation(recorded, at)}) for at in (0, 3)]
        assert [answer["missing_steps"] for answer in answers] == [0, 1]
        expected = robotwin_servers.planned(run, recorded, SEED, [[0], [3]])
        for answer, plan in zip(answers, expected, strict=True):
            np.testing.assert_array_equal(flat(answer["actions"]), plan)
            assert answer["latency_ms"] > 0
        info = lab.ask("trial_end", {"success": True})
        assert info["result"] == {"plans": 2, "missing_steps": 1}
    with contextlib.suppress(ConnectionClosed), talking(where) as lab:
        lab.ask("close")


def test_a_client_that_sends_every_observation(
    run: Path, recorded: Any, where: dict[str, Any]
) -> None:
    with talking(where) as lab:
        lab.ask("prepare_case", {"seed": SEED})
        assert lab.ask("reset")["result"] == {"seed": SEED}  # of prepare_case
        found = []
        for group in ([0], [1, 2, 3]):
            for at in group:
                assert lab.call("update_obs", observation(recorded, at)) == {"ok": True}
            found.append(flat(lab.call("get_action")["result"]))
        np.testing.assert_array_equal(
            np.stack(found), robotwin_servers.planned(run, recorded, SEED, [[0], [1, 2, 3]])
        )
        assert lab.ask("trial_end")["result"] == {"plans": 2, "missing_steps": 0}
        assert lab.ask("reset")["result"] == {"seed": 1}  # the next seed


def test_the_server_sends_no_pings(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XPolicyLab's client cannot answer pings for minutes while its simulator works."""
    from rgb2act_robotwin.evaluation.xpolicylab import serve
    from websockets.sync import server

    from rgb2act_core.serving import listen, load_server

    info: dict[str, Any] = {}

    def accept(lead: Any, **given: Any) -> contextlib.AbstractContextManager[Any]:
        info.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", accept)
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        with pytest.raises(KeyboardInterrupt):
            serve(listener, load_server(run)[1], None, "bgr")
        assert info["ping_interval"] is None
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_signal_that_does_not_interrupt_the_wait_ends_the_server(run: Path) -> None:
    import websockets.sync.server  # noqa: F401  # serving imports it, which may take longer
    from rgb2act_robotwin.evaluation.xpolicylab import serve

    from rgb2act_core.serving import listen, load_server

    _, sessions = load_server(run)
    with (
        contextlib.closing(sessions),
        listen("127.0.0.1", 0) as listener,
        interrupted_elsewhere(listener),
        pytest.raises(KeyboardInterrupt),
    ):
        serve(listener, sessions, None, "bgr")


def test_each_environment_of_a_connection_has_its_own_history(
    run: Path, recorded: Any, where: dict[str, Any]
) -> None:
    with talking(where) as lab, talking(where) as other:
        lab.ask("reset", {"seed": SEED})
        other.ask("reset", {"seed": 1})
        found = []
        for at in (0, 2):
            other.ask("infer", {"observation": observation(recorded, at)})
            both = [observation(recorded, at, 0), observation(recorded, at + 1, 7)]
            lab.call("update_obs_batch", both)
            found.append([flat(plan) for plan in lab.call("get_action_batch", [0, 7])["result"]])
        for number, groups in enumerate(([[0], [2]], [[1], [3]])):
            expected = robotwin_servers.planned(run, recorded, SEED, groups)
            np.testing.assert_array_equal([plans[number] for plans in found], expected)


def test_jpegs_are_decoded_by_their_mark(recorded: Any, where: dict[str, Any]) -> None:
    import simplejpeg

    seen, found = observation(recorded, 0), []
    image = simplejpeg.encode_jpeg(np.ascontiguousarray(seen["vision"]["cam_head"]["color"]))
    for color in (image, np.frombuffer(image, np.uint8)):
        with talking(where) as lab:
            lab.ask("reset", {"seed": SEED})
            seen["vision"]["cam_head"]["color"] = color
            found.append(flat(lab.ask("infer", {"observation": seen})["actions"]))
    np.testing.assert_array_equal(found[0], found[1])
    swapped = simplejpeg.decode_jpeg(image)[..., ::-1]  # without a mark red and blue are swapped
    read = read_images(seen, ("head_camera",), swapped.shape[:2], "bgr")
    np.testing.assert_array_equal(read[0], swapped)  # not compressed again


def test_arrays_are_compressed_like_the_recordings(recorded: Any) -> None:
    cameras, size = ("head_camera", "left_camera"), recorded.rgb.shape[2:4]
    for colours, expected in (("bgr", recorded.seen[0]), ("none", recorded.rgb[0])):
        read = read_images(observation(recorded, 0), cameras, size, colours)
        np.testing.assert_array_equal(read, expected)
    assert not np.array_equal(recorded.seen[0], recorded.rgb[0])
    long = observation(recorded, 0)
    for view in long["vision"].values():
        view["color"] = np.zeros((1, 70_000, 3), np.uint8)  # longer than a JPEG may be
    assert read_images(long, cameras, size, "bgr").shape == (2, 1, 70_000, 3)  # refused later


def test_errors_are_replies(recorded: Any, where: dict[str, Any]) -> None:
    fine = observation(recorded, 0)
    small = observation(recorded, 0)
    for view in small["vision"].values():
        view["color"] = np.zeros((120, 160, 3), np.uint8)
    with talking(where) as lab:
        wrong: list[tuple[dict[str, Any], str, str]] = [
            (lab.ask("infer", {"observation": fine}), "infer_failed", "reset first"),
            (lab.ask("dance"), "unknown_message_type", "'dance' is not supported"),
        ]
        lab.ask("reset")
        wrong += [
            (lab.ask("infer", {}), "infer_failed", "expected a map"),
            (
                lab.ask("infer", {"observation": small}),
                "infer_failed",
                "images are of 2 cameras at 120x160; send uint8 RGB images of 2 cameras",
            ),
            (
                lab.ask("infer", {"observation": fine | {"vision": {}}}),
                "infer_failed",
                "the policy needs 'head_camera', the observation has []",
            ),
            (
                lab.ask("infer", {"observation": fine | {"state": {}}}),
                "infer_failed",
                "state 'left_arm_joint_state': expected 6 numbers, got 0",
            ),
            (lab.call("get_action"), "call_failed", "no observation"),
            (lab.call("get_action_batch", [0, 0]), "call_failed", "[0, 0] are not distinct"),
            (lab.call("__init__"), "call_failed", "func_name '__init__'"),
        ]
        for payload, code, message in wrong:
            assert payload["code"] == code
            assert message in payload["message"]
        assert lab.ask("infer", {"observation": fine})["ok"]  # the connection is still usable


def array(**changes: Any) -> bytes:
    value = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [1], b"data": b"\0" * 4}
    value |= {key.encode(): change for key, change in changes.items()}
    return bytes(msgpack.packb({"message_type": "infer", "message_id": 1, "payload": value}))


HOSTILE = {
    "nothing": b"",
    "noise": b"\xc1\xff",
    "a list": msgpack.packb([1]),
    "no type": msgpack.packb({"message_id": 1}),
    "no id": msgpack.packb({"message_type": "hello"}),
    "no payload": msgpack.packb({"message_type": "hello", "message_id": 1, "payload": [1]}),
    "pickle": array(kind=b"O", type="|O", data=b"cos\nsystem\n"),
    "structured": array(kind=b"V", type=[["a", "<f4"]]),
    "text": array(type="<U1"),
    "no dtype": array(type="<x9"),
    "too short": array(shape=[2]),
    "too large": array(shape=[2**40, 2**40]),
    "negative": array(shape=[-1]),
    "millions of lists": b"\x93\x01\x01\xdd" + (2**21).to_bytes(4, "big") + b"\x90" * 2**21,
    "millions of maps": b"\x93\x01\x01" + (b"\xdc\xff\xff" + b"\x80" * 0xFFFF) * 40,
    "complex": msgpack.packb({"message_type": "a", "message_id": 1, "x": {b"complex": True}}),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_invalid_frames_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        xpolicylab_messages.unpack(data)


def test_invalid_input_closes_only_its_own_connection(recorded: Any, where: dict[str, Any]) -> None:
    with talking(where) as lab:
        lab.ask("reset", {"seed": SEED})
        for data, code in (
            (HOSTILE["pickle"], 1007),
            (HOSTILE["noise"], 1007),
            ("text", 1007),
            (b"\0" * (64 * 2**20 + 1), 1009),
        ):
            with talking(where) as hostile:
                with pytest.raises(ConnectionClosed) as closed:
                    hostile.exchange(data)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == code
        assert lab.ask("infer", {"observation": observation(recorded, 0)})["ok"]


def test_a_wrong_token_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret&word")
    with robotwin_servers.serving(
        "serve-xpolicylab", run, "--token-file", str(tmp_path / "token")
    ) as info:
        for path in ("", "?token=secret"):
            with pytest.raises(InvalidStatus, match="401"), talking(info, path):
                pass
        with talking(info, "?token=secret%26word") as lab:
            assert lab.ask("hello")["ok"]


def test_an_incompatible_policy_is_an_error(run: Path) -> None:
    import attrs
    from rgb2act_robotwin.evaluation.xpolicylab import check

    from rgb2act_core.serving import load_server

    offer, sessions = load_server(run)
    sessions.close()
    check(offer)
    with pytest.raises(UserError, match="'front_camera', which XPolicyLab's client does not send"):
        check(attrs.evolve(offer, cameras=("head_camera", "front_camera")))
    with pytest.raises(UserError, match="serve a run of RoboTwin"):
        check(attrs.evolve(offer, action_names=("a",)))


def test_a_multi_task_policy_gets_the_task(run: Path, recorded: Any) -> None:
    """The session gets the name of the task only if the policy has several."""
    import attrs
    from rgb2act_robotwin.evaluation.xpolicylab_connection import Connection, Trials

    from rgb2act_core.serving import load_server

    _, sessions = load_server(run)
    sessions.close()
    named = {"task_name": "lift_pot", "seed": 3}
    for tasks, expected in ((("other",), None), (("lift_pot", "open_laptop"), "lift_pot")):
        policy = sessions.planner.policy
        policy.config = attrs.evolve(policy.config, tasks=tasks)
        talk = Connection(Trials(sessions, "bgr"), "one")
        frame = {"message_type": "reset", "message_id": "1", "payload": named}
        talk.answer(frame)
        talk.trial._session(0)
        assert talk.trial.open[0].task == expected


def test_a_policy_with_the_protocols_history_misses_no_step(run: Path, recorded: Any) -> None:
    """One frame per plan gives the plans of every frame if the policy looks at no others."""
    import attrs
    from rgb2act_robotwin.evaluation.xpolicylab_connection import Connection, Trials

    from rgb2act_core.serving import load_server

    _, sessions = load_server(run)
    policy = sessions.planner.policy
    policy.config = attrs.evolve(policy.config, history_stride=policy.config.n_action_steps)
    session = sessions.begin()
    session.reset(SEED)
    expected = []
    for group in ([0], [1, 2, 3], [2, 1, 0]):
        session.observe(recorded.seen[group], recorded.joints[group])
        expected.append(session.act())
    session.close()
    talk, found = Connection(Trials(sessions, "bgr"), "one"), []
    talk.answer(frame("reset", 0, {"seed": SEED}))
    for step, at in enumerate((0, 3, 0)):
        data = talk.answer(frame("infer", step, {"observation": observation(recorded, at)}))
        assert data is not None
        reply = msgpack.unpackb(data, object_hook=unpacked, strict_map_key=False)["payload"]
        assert reply["missing_steps"] == 0
        found.append(flat(reply["actions"]))
    talk.close()
    sessions.close()
    np.testing.assert_array_equal(found, expected)


def test_a_history_that_the_client_does_not_send_is_a_warning(run: Path) -> None:
    import attrs
    from rgb2act_robotwin.evaluation.xpolicylab import history_warning

    from rgb2act_core.serving import read_policy_info

    info = read_policy_info(run)
    assert history_warning(info) == (
        "deployed: learned from 2 frames with history_stride = 1, but XPolicyLab's client sends one"
        " frame every 3 steps; train with [policy] history_stride = 3, or with n_obs_steps = 1"
    )
    sent = attrs.evolve(info, frames_observed=(0,))
    assert history_warning(attrs.evolve(sent, history_stride=3)) is None
    assert history_warning(attrs.evolve(sent, n_obs_steps=1)) is None
    with robotwin_servers.serving("serve-xpolicylab", run) as served:
        pass
    assert served["errors"].startswith(f"warning: {history_warning(info)}\n")


@pytest.mark.parametrize("part", ["aligner", "backbone"])
def test_windows_of_frames_that_the_client_does_not_send_are_a_warning(
    run: Path, tmp_path: Path, part: str
) -> None:
    from rgb2act_robotwin.evaluation.xpolicylab import history_warning

    from rgb2act_core.serving import read_policy_info

    root = shutil.copytree(run.parents[1], tmp_path / "root")
    (path,) = root.glob("store/policy/*/policy.json")
    policy = json.loads(path.read_text())
    policy.pop("record_digest", None)  # files of older versions have none
    policy["config"]["history_stride"] = policy["config"]["n_action_steps"]
    path.write_text(json.dumps(policy))
    assert history_warning(read_policy_info(root / "deployed/1")) is None
    if part == "aligner":
        policy["aligner"] = {"config": {"window": 2, "stride": 2}}
    else:
        policy["backbones"][0]["context"] = 2
    path.write_text(json.dumps(policy))
    warning = history_warning(read_policy_info(root / "deployed/1"))
    assert warning is not None
    assert "learned from windows of consecutive frames" in warning
