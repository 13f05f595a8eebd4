"""Trials of XPolicyLab's protocol survive a lost connection, and each request counts once."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import robotwin_servers
from rgb2act_robotwin.evaluation import xpolicylab_connection, xpolicylab_trial
from rgb2act_robotwin.evaluation.xpolicylab_connection import Connection, Trials
from websockets.sync.client import connect
from xpolicylab_client import evaluating, flat, observation, packed, unpacked

pytestmark = pytest.mark.slow

SEED = 100_007
CASE = {"task_name": "lift_pot", "seed": SEED, "instruction": "lift", "action_type": "joint"}
FRAMES = [0, 3, 1, 2]  # before each plan


@pytest.fixture(scope="module")
def expected(run: Path, recorded: Any) -> np.ndarray:
    """Return the plans of an episode on one connection."""
    return robotwin_servers.planned(run, recorded, SEED, [[at] for at in FRAMES])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lost", range(len(FRAMES)))
def test_an_episode_continues_on_the_next_connection(
    where: dict[str, Any], recorded: Any, expected: np.ndarray, lost: int, when: str
) -> None:
    """As XPolicyLab's client does it: hello, then the same request with another message id."""
    with evaluating(where["port"], f"{when} {lost}") as client:
        client.call("prepare_case", CASE)
        assert client.call("reset", CASE) == {"seed": SEED}
        plans = []
        for number, at in enumerate(FRAMES):
            client.call("update_obs", observation(recorded, at))
            client.losing = when if number == lost else ""
            plans.append(flat(client.call("get_action")))
        assert client.hellos == 2
        client.losing = when
        assert client.call("trial_end", CASE | {"success": False})["plans"] == len(FRAMES)
        assert client.hellos == 3
    np.testing.assert_array_equal(plans, expected)


def test_the_next_episode_may_begin_on_another_connection(
    where: dict[str, Any], recorded: Any, expected: np.ndarray
) -> None:
    with evaluating(where["port"], "two episodes") as client:
        for _ in range(2):
            client.losing = "before" if client.connection else ""
            client.call("prepare_case", CASE)
            client.call("reset", CASE)
            client.call("update_obs", observation(recorded, FRAMES[0]))
            np.testing.assert_array_equal(flat(client.call("get_action")), expected[0])
            client.call("trial_end", CASE)


def frame(kind: str, number: int = 0, trial: str = "t", **payload: Any) -> dict[str, Any]:
    names = {"message_type": kind, "message_id": f"{kind} {number}", "evaluation_id": "e"}
    return names | {"trial_id": trial, "step": number, "payload": payload}


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def trials(run: Path) -> Iterator[Trials]:
    from rgb2act_core.serving import load_server

    _, sessions = load_server(run)
    yield Trials(sessions, "bgr")
    sessions.close()


def ask(connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a reply."""
    data = connection.answer(request)
    assert data is not None
    reply = msgpack.unpackb(data, object_hook=unpacked, strict_map_key=False)
    return dict(reply["payload"])


def begun(trials: Trials, recorded: Any, trial: str = "t", plans: int = 1) -> Connection:
    """Return a connection on which an episode has begun."""
    connection = Connection(trials, "server")
    ask(connection, frame("reset", trial=trial, seed=SEED))
    for step in range(plans):
        ask(connection, infer(recorded, step, trial))
    return connection


def infer(recorded: Any, step: int, trial: str = "t") -> dict[str, Any]:
    return frame("infer", step, trial, observation=observation(recorded, FRAMES[step]))


def test_a_repeated_message_id_gets_the_same_reply(trials: Trials, recorded: Any) -> None:
    connection = begun(trials, recorded)
    first = ask(connection, infer(recorded, 1))
    again = ask(connection, infer(recorded, 1))
    np.testing.assert_array_equal(flat(first["actions"]), flat(again["actions"]))
    assert ask(connection, frame("trial_end"))["result"]["plans"] == 2


def test_a_connection_that_seems_open_is_replaced(
    trials: Trials, recorded: Any, expected: np.ndarray
) -> None:
    """Nothing reports to the server that the network between it and a client is down."""
    old, new = begun(trials, recorded), Connection(trials, "server")
    found = ask(new, infer(recorded, 1))
    np.testing.assert_array_equal(flat(found["actions"]), expected[1])
    assert "continues on another connection" in ask(old, infer(recorded, 1))["message"]
    old.close()
    assert ask(new, infer(recorded, 2))["ok"]


def test_a_request_is_awaited_that_is_still_being_answered(
    trials: Trials, recorded: Any, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = begun(trials, recorded), Connection(trials, "server")
    planning, proceed = threading.Event(), threading.Event()
    plan = old.trial.open[0].planner._plan

    def slow(*args: Any) -> Any:
        planning.set()
        assert proceed.wait(60)
        return plan(*args)

    old.trial.open[0].planner._plan = slow
    replies = {}
    threads = [
        threading.Thread(target=lambda c=c, n=n: replies.update({n: ask(c, infer(recorded, 1))}))
        for n, c in enumerate((old, new))
    ]
    threads[0].start()
    assert planning.wait(60)
    threads[1].start()
    while new.trial is not old.trial:
        time.sleep(0.001)
    proceed.set()
    for thread in threads:
        thread.join()
    for reply in replies.values():
        np.testing.assert_array_equal(flat(reply["actions"]), expected[1])
    assert ask(new, frame("trial_end"))["result"]["plans"] == 2


def test_only_the_next_request_of_the_same_trial_continues_it(
    trials: Trials, recorded: Any
) -> None:
    begun(trials, recorded, plans=2).close()
    for request in (infer(recorded, 3), infer(recorded, 0), infer(recorded, 2, trial="other")):
        stranger = Connection(trials, "server")
        assert "no episode was started; reset first" in ask(stranger, request)["message"]
    assert ask(Connection(trials, "server"), infer(recorded, 2))["ok"]


def test_the_newest_of_the_episodes_with_equal_ids_continues(
    trials: Trials, recorded: Any, expected: np.ndarray
) -> None:
    begun(trials, recorded, plans=1).close()
    begun(trials, recorded, plans=2).close()
    found = ask(Connection(trials, "server"), infer(recorded, 2))
    np.testing.assert_array_equal(flat(found["actions"]), expected[2])


def test_trials_are_forgotten_after_a_while_or_when_the_client_closes(
    trials: Trials, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(trials, recorded, "a").close()
    closed = begun(trials, recorded, "b")
    assert closed.answer(frame("close", trial="b")) is None
    assert "reset first" in ask(Connection(trials, "server"), infer(recorded, 1, "b"))["message"]
    monkeypatch.setattr(xpolicylab_connection, "KEPT_SECONDS", -1.0)
    assert "reset first" in ask(Connection(trials, "server"), infer(recorded, 1, "a"))["message"]
    assert trials.kept == []


def test_batches_do_not_wait_for_trials_without_a_connection(trials: Trials, recorded: Any) -> None:
    connection = begun(trials, recorded)
    trials.sessions.expect(connection.trial.open[0])
    connection.close()
    assert not trials.sessions.awaited
    assert ask(Connection(trials, "server"), infer(recorded, 1))["ok"]


def test_a_connection_lost_during_a_request_leaves_no_session_awaited(
    trials: Trials, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, read = begun(trials, recorded, plans=0), xpolicylab_trial.read_images
    reading, proceed = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        reading.set()
        assert proceed.wait(60)
        return read(*args)

    monkeypatch.setattr(xpolicylab_trial, "read_images", slow)
    request = threading.Thread(target=ask, args=(connection, infer(recorded, 0)))
    request.start()
    assert reading.wait(60)
    loss = threading.Thread(target=connection.close)
    loss.start()
    while connection.trial.owner is not None:
        time.sleep(0.001)
    proceed.set()
    for thread in (request, loss):
        thread.join()
    assert not trials.sessions.awaited
    assert ask(Connection(trials, "server"), infer(recorded, 1))["ok"]


def test_a_trial_keeps_no_images_of_answered_requests(trials: Trials, recorded: Any) -> None:
    connection, request = begun(trials, recorded), infer(recorded, 1)
    ask(connection, request)
    images = sum(
        view["color"].nbytes for view in request["payload"]["observation"]["vision"].values()
    )
    assert len(pickle.dumps(connection.trial.last)) < images / 2


def test_pings_are_answered_while_a_plan_is_computed(
    run: Path, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgb2act_robotwin.evaluation import xpolicylab
    from websockets.sync import server as websockets_server

    from rgb2act_core.serving import Session, listen, load_server

    servers, proceed, act = [], threading.Event(), Session.act

    def accept(*args: Any, **options: Any) -> Any:
        servers.append(accepted(*args, **options))
        return servers[0]

    def slow(session: Session) -> Any:
        assert proceed.wait(60)
        return act(session)

    accepted = websockets_server.serve
    monkeypatch.setattr(websockets_server, "serve", accept)
    monkeypatch.setattr(Session, "act", slow)
    listener = listen("127.0.0.1", 0)
    _, sessions = load_server(run)
    thread = threading.Thread(target=xpolicylab.serve, args=(listener, sessions, None, "bgr"))
    thread.start()
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    with connect(url, proxy=None, max_size=None) as client:
        client.send(msgpack.packb(frame("reset", seed=SEED)))
        client.recv(timeout=60)
        client.send(msgpack.packb(infer(recorded, 0), default=packed))
        assert client.ping().wait(60)
        proceed.set()
        client.recv(timeout=60)
    servers[0].shutdown()
    thread.join()
    listener.close()
    sessions.close()
