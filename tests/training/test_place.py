"""The place of a process among others, as a launcher states it."""

from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.training.place import Place, place_in

LAUNCHED = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node-0",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "2"}])
def test_a_process_by_itself_has_no_place(environment: dict[str, str]) -> None:
    assert place_in(environment) is None


def test_the_place_is_read_from_the_variables_of_torchrun() -> None:
    place = place_in(LAUNCHED)
    assert place == Place(
        rank=5,
        size=8,
        local_rank=1,
        local_size=4,
        address="node-0",
        port=29500,
        hosts_store=False,
    )
    assert place is not None
    assert place_in(place.environment) == place


@pytest.mark.parametrize(("agent", "hosts"), [("True", False), ("False", True)])
def test_the_first_process_hosts_the_store_unless_torchrun_does(agent: str, hosts: bool) -> None:
    place = place_in(LAUNCHED | {"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": agent})
    assert place is not None
    assert place.hosts_store is hosts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: not set, though RANK and WORLD_SIZE are"),
        ({"MASTER_PORT": "port"}, "MASTER_PORT: expected a number, got 'port'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: expected a number, got 'two'"),
    ],
)
def test_wrong_variables_are_named(changes: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        place_in(LAUNCHED | changes)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_several_processes_do_not_share_one_device(device: str) -> None:
    place = place_in(LAUNCHED)
    assert place is not None
    with pytest.raises(UserError, match=r"compute.device: .* is one device, and 4 processes"):
        place.device(device, 1)


def test_the_cpu_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    monkeypatch.setattr("rgb2act_core.training.place.core_count", lambda: 9)
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    place = place_in(LAUNCHED)
    assert place is not None
    assert (place.device("cpu", 0), place.device("cpu", 3)) == ("cpu", "cpu")
    assert threads == [2, 3]
