"""Finding weights: paths, caches, downloads."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import pytest

from rgb2act_core import UserError
from rgb2act_core.weights import (
    OfficialWeights,
    download,
    locate,
    locate_weights,
)

ADDRESS = OfficialWeights(name="Net", filename="net.pth", url="http://127.0.0.1:9/net.pth", size=3)
REPO = OfficialWeights(
    name="Net-L", filename="net.safetensors", repo="lab/net", accept="https://lab/ok"
)


@pytest.fixture
def messages(monkeypatch):
    lines = []
    monkeypatch.setattr(locate, "say", lines.append)
    return lines


def test_random_weights_have_no_path_and_print_a_warning(messages):
    assert locate_weights("random", ADDRESS, "net") is None
    assert messages == ["net: weights are random, so its features carry no information"]


def test_a_path_is_returned_unchanged(tmp_path):
    path = tmp_path / "mine.pth"
    path.touch()
    assert locate_weights(str(path), ADDRESS, "net") == path


def test_a_missing_path_names_the_official_file():
    with pytest.raises(
        UserError, match=r"^net: weights 'no\.pth' do not exist; .* download Net from"
    ):
        locate_weights("no.pth", ADDRESS, "net")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_weights_without_a_source_are_not_offered_for_download(monkeypatch, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    nowhere = OfficialWeights(name="Net", filename="net.pth")
    installed = OfficialWeights(name="Net", filename="net.pth", package="lab-net", sha256="00")
    for weights, official, message in (
        ("no.pth", nowhere, "weights 'no.pth' do not exist; give a path"),
        (
            "no.pth",
            installed,
            "weights 'no.pth' do not exist; give a path, or 'package' for Net (pip install"
            " lab-net)",
        ),
        ("hub", nowhere, "Net has no official URL; set weights to a path"),
        (
            "hub",
            installed,
            "Net has no official URL; set weights to a path, or 'package' for Net (pip install"
            " lab-net)",
        ),
    ):
        with pytest.raises(UserError) as caught:
            locate_weights(weights, official, "net")
        assert str(caught.value) == f"net: {message}"


def test_offline_mode_names_the_file_to_download(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set; .* net\.pth from http://127"):
        locate_weights("hub", ADDRESS, "net")


def test_offline_mode_uses_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    path = download.cache_path(ADDRESS.url, ADDRESS.filename)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"abc")
    assert locate_weights("hub", ADDRESS, "net") == path


def test_hub_downloads_from_the_official_url(monkeypatch, tmp_path, messages):
    calls = []

    def fetch(url, filename, **known):
        calls.append((url, filename, known))
        return tmp_path

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "fetch", fetch)
    assert locate_weights("hub", ADDRESS, "net") == tmp_path
    assert calls == [(ADDRESS.url, "net.pth", {"sha256": None, "size": 3})]
    assert "the SHA-256 of Net is unknown" in messages[0]


class Hub(BaseHTTPRequestHandler):
    """Answers as a Hugging Face repository does: with files, or with one error for all."""

    def answer(self, with_body):
        name = self.path.rpartition("/")[2]
        files, error = self.server.files, self.server.error
        if error or name not in files:
            code, word = error or (404, "EntryNotFound")
            self.send_response(code)
            self.send_header("X-Error-Code", word)
            self.send_header("X-Error-Message", word)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{name}-1"')
        self.send_header("Content-Length", str(len(files[name])))
        self.end_headers()
        if with_body:
            self.server.sent.append(name)
            self.wfile.write(files[name])

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.error, server.sent = {}, None, []
        cache = tmp_path / "hub"
        monkeypatch.setattr(locate, "reason_unreachable", lambda url: None)
        get = functools.partial(
            huggingface_hub.hf_hub_download,
            endpoint=f"http://127.0.0.1:{server.server_port}",
            cache_dir=cache,
            token=False,
        )
        find = functools.partial(huggingface_hub.try_to_load_from_cache, cache_dir=cache)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", get)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(hub):
    hub.files = {"net.safetensors": b"abc"}
    path = locate_weights("hub", REPO, "net")
    assert path is not None
    assert path.read_bytes() == b"abc"
    assert locate_weights("hub", REPO, "net") == path
    assert hub.sent == ["net.safetensors"]


def test_shards_are_downloaded_with_their_index(hub):
    index = {"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}
    hub.files = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "x-1.safetensors": b"1",
        "x-2.safetensors": b"2",
    }
    official = OfficialWeights(name="Net", filename="model.safetensors.index.json", repo="lab/net")
    path = locate_weights("hub", official, "net")
    assert path is not None
    assert (path.parent / "x-2.safetensors").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ((403, "GatedRepo"), r"is gated; accept its licence at https://lab/ok, then log in"),
        ((401, "RepoNotFound"), r"does not exist or is private; log in"),
        ((404, "EntryNotFound"), r"has no 'net\.safetensors'; set weights to a path"),
    ],
)
def test_errors_of_a_repository_are_explained(hub, error, message):
    hub.error = error
    with pytest.raises(UserError, match=message):
        locate_weights("hub", REPO, "net")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, rgb2act_core.weights as w; w.load_strict; w.locate_weights;"
    code += " w.read_checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("path", ["~no-such-user/a.pth", "a" * 300, "a\0b", ""])
def test_a_path_that_cannot_exist_is_told(path):
    with pytest.raises(UserError, match=r"^net: weights '.* (cannot be looked up|do not)"):
        locate_weights(path, ADDRESS, "net")
