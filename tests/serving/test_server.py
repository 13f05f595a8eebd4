"""The policy server from the command line: its actions, and the clients that it disconnects."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rgb2act_client
import rgb2act_process
import rgb2act_wire

from rgb2act_core.errors import UserError

ROOT = Path(__file__).parents[2]
SEEDS = (7, 8, 9)
# evaluation encodes the frames of all episodes at once, the server those of each session: the order
# of float32 summation differs
CLOSE = {"rtol": 0.0, "atol": 1e-4}
Done = subprocess.CompletedProcess[str]
Serving = Callable[..., contextlib.AbstractContextManager["Server"]]


class Server:
    """A server process and its JSON line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.info: dict[str, Any] = json.loads(process.stdout.readline())
        self.errors = ""

    @property
    def address(self) -> str:
        return f"{self.info['host']}:{self.info['port']}"

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Interrupt it and return its exit code."""
        _, self.errors = rgb2act_process.stop(self.process, sign)
        return self.process.returncode


@pytest.fixture(scope="module")
def acted(
    cli: Callable[..., Done],
    spec_in: Callable[..., Path],
    puppet_done: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the root of a run whose executed actions are in ``<seed>.jsonl`` next to it."""
    root = Path(shutil.copytree(puppet_done, tmp_path_factory.mktemp("served") / "runs"))
    spec = spec_in(
        root,
        name="served",
        backbone=[{"use": "puppet", "context": 2}],
        policy={"n_obs_steps": 2},
        act={"episodes": 3, "parallel_episodes": 3, "first_seed": 7, "candidates": 2, "videos": 0},
    )
    done = cli("run", spec, "--root", root, RGB2ACT_PUPPET_LOG=str(root))
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def serving(acted: Path, puppet_site: Path) -> Serving:
    """Return a function that serves the run in a subprocess."""

    @contextlib.contextmanager
    def serve(*args: str, **env: str) -> Iterator[Server]:
        path = os.pathsep.join(map(str, (puppet_site, ROOT / "tests/puppet", ROOT)))
        with subprocess.Popen(
            [*rgb2act_process.command(), "serve", "served", "--root", str(acted), "--json", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error"} | env,
        ) as process:
            server = Server(process)
            try:
                yield server
            finally:
                if process.poll() is None:
                    assert server.stop() == 0

    return serve


@pytest.fixture
def client(puppet: None) -> Any:
    """Return the client's module, with the puppet environment installed."""
    return rgb2act_client


def play(policy: Any, seed: int) -> np.ndarray:
    """Return the actions (T, A) that a served policy takes in an episode of the puppet."""
    env = environment()
    observation, _ = env.reset(seed=seed)
    policy.reset(seed)
    policy.observe(observation["rgb"], observation["joints"])
    executed: list[np.ndarray] = []
    while True:
        for action in policy.act():
            observation, _, terminated, truncated, _ = env.step(action)
            executed.append(action)
            if terminated or truncated:
                return np.stack(executed)
            policy.observe(observation["rgb"], observation["joints"])


def environment() -> Any:
    from rgb2act_core.plugins.components import Kind
    from rgb2act_core.plugins.registry import find

    component = find(Kind.ENVIRONMENT, "puppet")
    return component.build(component.config()).make()


def acted_out(root: Path, seed: int) -> np.ndarray:
    """Return the actions (T, A) that evaluation executed."""
    lines = (root / f"{seed}.jsonl").read_text().splitlines()
    return np.array([json.loads(line) for line in lines], np.float32)


def test_a_served_policy_acts_as_in_evaluation(acted: Path, serving: Serving, client: Any) -> None:
    with serving() as server, client.Client(server.address) as policy:
        assert server.info["batch"] == 3
        for seed in (*SEEDS, SEEDS[0]):
            np.testing.assert_allclose(play(policy, seed), acted_out(acted, seed), **CLOSE)
        assert policy.missing == 0
        assert np.abs(acted_out(acted, 7) - acted_out(acted, 8)).max() > 0.01


def test_concurrent_clients_do_not_affect_each_other(serving: Serving, client: Any) -> None:
    found: dict[int, np.ndarray] = {}

    def drive(seed: int) -> None:
        with client.Client(server.address) as policy:
            found[seed] = play(policy, seed)

    with serving() as server:
        threads = [threading.Thread(target=drive, args=(seed,)) for seed in SEEDS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with client.Client(server.address) as policy:
            for seed in SEEDS:
                np.testing.assert_array_equal(play(policy, seed), found[seed])


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


HELLO = framed(rgb2act_wire.pack({"kind": "hello", "version": 1, "token": None}))
HOSTILE = {
    "garbage": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "oversized at first": struct.pack(">I", 5000),
    "oversized later": HELLO + struct.pack(">I", 2**31),
    "half a message": HELLO + struct.pack(">I", 100) + b"half",
    "no hello": framed(rgb2act_wire.pack({"kind": "act"})),
    "other version": framed(rgb2act_wire.pack({"kind": "hello", "version": 99, "token": None})),
    "no such message": HELLO + framed(rgb2act_wire.pack({"kind": "eval", "code": "1"})),
    "a list": HELLO + framed(b"\x93\x01\x02\x03"),
    "seed of another type": HELLO + framed(rgb2act_wire.pack({"kind": "reset", "seed": "1"})),
    "plan of nothing": HELLO + framed(rgb2act_wire.pack({"kind": "act"})),
    "gone without a word": HELLO,
}


def test_invalid_input_closes_only_its_own_connection(serving: Serving, client: Any) -> None:
    with serving() as server, client.Client(server.address) as policy:
        before = play(policy, 7)
        address = (server.info["host"], server.info["port"])
        answered = {}
        for name, content in HOSTILE.items():
            answered[name] = b""
            with socket.create_connection(address, timeout=60) as hostile:
                hostile.sendall(content)
                hostile.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while part := hostile.recv(1 << 16):  # until the server closes the connection
                        answered[name] += part
            np.testing.assert_array_equal(play(policy, 7), before, err_msg=name)
        assert server.stop() == 0
    assert b"message has 5000 bytes, the limit is 4096" in answered["oversized at first"]
    assert b"expected a map with string keys, got list" in answered["a list"]
    assert "message has 5000 bytes, the limit is 4096" in server.errors
    assert "message has 2147483648 bytes, the limit is 67108864" in server.errors
    assert "'eval': is not a message of the protocol" in server.errors
    assert "Traceback" not in server.errors


def test_a_client_that_disconnects_during_planning_affects_no_other(
    serving: Serving, client: Any
) -> None:
    observation, _ = environment().reset(seed=7)
    with serving() as server, client.Client(server.address) as policy:
        before = play(policy, 7)
        for _ in range(3):
            other = client.Client(server.address)
            other.reset(1)
            other.observe(observation["rgb"], observation["joints"])
            other.ask()
            other.close()
        np.testing.assert_array_equal(play(policy, 7), before)
        assert server.stop() == 0
    assert "Traceback" not in server.errors


def test_invalid_requests_are_errors(serving: Serving, client: Any) -> None:
    observation, _ = environment().reset(seed=7)
    rgb, joints = observation["rgb"], observation["joints"]
    views, height, width, _ = rgb.shape
    wrong = [
        (lambda p: p.observe(rgb, joints), "no episode has started; call reset first"),
        (lambda p: (p.reset(1), p.act()), "no observation since the last plan"),
        (lambda p: p.reset(-1), "seed is -1"),
        (
            lambda p: (p.reset(1), p.observe(np.zeros((1, 480, 640, 3), np.uint8), joints)),
            rf"images are of 1 camera at 480x640; send uint8 RGB images of {views} camera.* at"
            rf" {height}x{width}, in an array of shape \({views}, {height}, {width}, 3\)",
        ),
        (lambda p: (p.reset(1), p.observe(rgb, joints[:3])), r"joints are float32 of shape \(3,\)"),
        (lambda p: (p.reset(1), p.observe(rgb, joints * np.nan)), "contain NaN"),
    ]
    with serving() as server:
        for call, message in wrong:
            policy = client.Client(server.address)
            with pytest.raises(client.ServerError, match=message):
                call(policy)
            with pytest.raises(client.ServerError, match=r"connection|descriptor"):
                policy.reset(1)


def test_far_inputs_are_reported_once_and_counted(serving: Serving, client: Any) -> None:
    observation, _ = environment().reset(seed=7)
    joints = np.float32(observation["joints"]) + np.array([0, 90, 0, 0], np.float32)
    with serving() as server:
        with client.Client(server.address) as policy:
            policy.reset(7)
            policy.observe(observation["rgb"], observation["joints"])
            with pytest.warns(UserWarning, match=r"observe: .* \(learned from .* check the units"):
                policy.observe(observation["rgb"], joints)
            policy.observe(observation["rgb"], joints)
            policy.act()
            assert policy.far_inputs == 2
        assert server.stop() == 0
    assert server.errors.count("learned from") == 1
    assert "2 observations had joints far outside the training data" in server.errors


def test_a_deadline_and_metrics_over_the_network(serving: Serving, client: Any) -> None:
    observation, _ = environment().reset(seed=7)
    with serving() as server, client.Client(server.address) as policy:
        policy.reset(7)
        policy.observe(observation["rgb"], observation["joints"])
        actions = policy.act(deadline_ms=60_000)
        assert (policy.late, policy.late_plans) == (False, 0)
        policy.reset(7)
        policy.observe(observation["rgb"], observation["joints"])
        np.testing.assert_array_equal(actions, policy.act())
        found = policy.metrics()
        assert (found["plans"], found["late_plans"]) == (2, 0)
        assert min(found["latency"][kind]["p50"] for kind in ("encode", "plan", "wire")) > 0
        policy.observe(observation["rgb"], observation["joints"])
        with pytest.raises(client.ServerError, match="deadline_ms is 0; pass one above 0"):
            policy.act(deadline_ms=0)
        last, _ = rgb2act_process.stop(server.process)
    assert json.loads(last)["plans"] == 2


def test_steps_that_were_not_observed_are_counted(serving: Serving, client: Any) -> None:
    observation, _ = environment().reset(seed=7)
    with serving() as server, client.Client(server.address) as policy:
        policy.reset(7)
        for _ in range(3):
            policy.observe(observation["rgb"], observation["joints"])
            assert len(policy.act()) == policy.n_action_steps == 2
        assert policy.missing == 2  # one of two after each of two plans


def test_a_wrong_token_is_refused(serving: Serving, client: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("long random word\n")
    with serving("--token-file", str(file), RGB2ACT_TOKEN="another") as server:
        client.Client(server.address, token="long random word").close()
        for token, message in (("long random wor", "wrong"), ("another", "wrong"), ("", "missing")):
            with pytest.raises(client.ServerError, match=f"the token is {message}"):
                client.Client(server.address, token=token)
        assert server.stop() == 0
    assert "random" not in server.errors


def test_a_reachable_address_needs_a_token(
    cli: Callable[..., Done], acted: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    for args, message in (
        (
            ("--host", "0.0.0.0"),
            "because other machines can connect; give --token-file",
        ),
        (("--token-file", tmp_path / "empty"), "is empty"),
        (("--token-file", tmp_path / "absent"), "cannot be read"),
        (("--host", "256.1.1.1"), "other machines can connect"),
        (("--host", "127.0.0.1", "--port", "70000"), "expected a port from 0 to 65535"),
    ):
        done = cli("serve", "served", "--root", acted, *args)
        assert done.returncode == 2
        assert message in done.stderr


def test_a_port_in_use_is_an_error(serving: Serving, cli: Callable[..., Done], acted: Path) -> None:
    with serving() as server:
        done = cli("serve", "served", "--root", acted, "--port", str(server.info["port"]))
    assert done.returncode == 2
    assert f"{server.address}: cannot listen" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stops_cleanly_with_connected_clients(
    serving: Serving, client: Any, sign: signal.Signals
) -> None:
    with serving() as server, client.Client(server.address) as policy:
        policy.reset(1)
        assert server.stop(sign) == 0
        assert server.errors == "stopped\n"
        with pytest.raises(client.ServerError):
            policy.reset(2)


def test_a_missing_server_is_an_error(client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(client.ServerError, match="start one with rgb2act serve RUN"):
        client.Client(f"127.0.0.1:{port}")
    with pytest.raises(client.ServerError, match="give HOST:PORT"):
        client.Client("localhost")


@pytest.fixture
def planned(acted: Path, puppet: None) -> Callable[[float, tuple[int, int]], list[int]]:
    """Return the batch sizes when two sessions send requests at the same time."""
    from rgb2act_core.serving import Sessions, load_server

    _, loaded = load_server(acted / "served" / "1", batch=2)
    loaded.close()
    observation, _ = environment().reset(seed=7)
    draw = loaded.planner.plan

    def call(window: float, seeds: tuple[int, int]) -> list[int]:
        sizes: list[int] = []

        def plan(histories: Any, *args: Any) -> Any:
            sizes.append(len(histories))
            return draw(histories, *args)

        loaded.planner.plan = plan  # type: ignore[method-assign]
        sessions = Sessions(loaded.planner, loaded.act, window)

        def see(session: Any, seed: int) -> None:
            session.reset(seed)
            session.observe(observation["rgb"][None], np.float32(observation["joints"])[None])

        def ask(session: Any, seed: int) -> None:
            see(session, seed)
            session.act()

        some = [sessions.begin(), sessions.begin()]
        for session, seed in zip(some, seeds, strict=True):
            see(session, seed)
        threads = [threading.Thread(target=session.act) for session in some]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        some[0].close()
        ask(some[1], 1)  # the closed session is not waited for
        sessions.close()
        with pytest.raises(UserError, match="the server is stopping"):
            ask(some[1], 1)
        return sizes

    return call


def test_concurrent_requests_share_a_batch(planned: Any) -> None:
    assert planned(1e6, (7, 8)) == [2, 1]


def test_a_session_that_is_late_is_awaited_once(planned: Any, acted: Path) -> None:
    """A client that observes and then requests nothing delays others by one window at most."""
    from rgb2act_core.serving import Sessions, load_server

    _, loaded = load_server(acted / "served" / "1", batch=2)
    loaded.close()
    sessions = Sessions(loaded.planner, loaded.act, window=0.01)
    late, good = sessions.begin(), sessions.begin()
    sessions.expect(late)
    observation, _ = environment().reset(seed=7)
    good.reset(7)
    for _ in range(3):
        good.observe(observation["rgb"][None], np.float32(observation["joints"])[None])
        good.act()
        assert not sessions.awaited
    sessions.close()


def test_seeds_of_the_same_slot_are_planned_one_by_one(planned: Any) -> None:
    assert planned(0.001, (7, 9)) == [1, 1, 1]
