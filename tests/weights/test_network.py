"""A server that cannot be reached is found in seconds."""

from __future__ import annotations

import socket

import huggingface_hub
import pytest

from rgb2act_core import UserError
from rgb2act_core.weights import OfficialWeights, locate_weights
from rgb2act_core.weights.network import reason_unreachable


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_server_that_listens_is_reachable() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert reason_unreachable(f"http://127.0.0.1:{listener.getsockname()[1]}/file") is None


def test_the_reason_is_given() -> None:
    assert reason_unreachable(f"https://127.0.0.1:{closed_port()}") == "connection refused"


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_a_proxy_is_asked_instead(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv(variable, "http://proxy:1")
    assert reason_unreachable(f"https://127.0.0.1:{closed_port()}") is None


@pytest.mark.parametrize("url", ["https://hub:x/a", "https://hub:99999", "http://[::1"])
def test_an_address_that_is_no_url_is_told(url: str) -> None:
    assert f"{url!r} is not a URL: " in str(reason_unreachable(url))


def test_the_hub_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the library retries for a minute")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    address = f"https://127.0.0.1:{closed_port()}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    official = OfficialWeights(name="Net", filename="absent.pth", repo="nobody/net", licence="MIT")
    message = r"^net: Net at .*: cannot be reached \(connection refused\); run again, or download"
    with pytest.raises(UserError, match=message):
        locate_weights("hub", official, "net")
