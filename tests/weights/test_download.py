"""Downloads from a local server that can close connections, change its file or return errors."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rgb2act_core import UserError
from rgb2act_core.weights import download

BODY = bytes(range(256)) * 40
SHA = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``body`` under any path; ``cuts`` are the lengths at which responses are cut."""

    body, etag, cuts, status = BODY, '"one"', (), 200
    ranges = True
    stated = ""  # length of the body, if not the true one

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/big.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range") if server.ranges else None
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        same = self.headers.get("If-Range") == server.etag
        start = int(asked[len("bytes=") : -1]) if asked and same else 0
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.end_headers()
            return
        self.send_response(206 if asked and same else 200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", server.stated or str(len(server.body) - start))
        self.end_headers()
        cut = server.cuts[len(server.asked) - 1] if len(server.asked) <= len(server.cuts) else None
        self.wfile.write(server.body[start:][:cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_fetch_downloads_once_and_checks(server, tmp_path):
    first = download.fetch(server.url, "big.pth", sha256=SHA, size=len(BODY))
    assert first.read_bytes() == BODY
    assert download.fetch(server.url, "big.pth", sha256=SHA) == first
    assert server.asked == [None]
    assert leftovers(tmp_path) == ["big.pth"]


def test_a_lost_connection_is_resumed(server):
    server.cuts = (5000, 2000)
    assert download.fetch(server.url, "big.pth", sha256=SHA).read_bytes() == BODY
    assert server.asked == [None, "bytes=5000-", "bytes=7000-"]


def test_a_connection_without_data_is_an_error_and_the_partial_file_stays(server, tmp_path):
    server.cuts = (5000, 0)
    with pytest.raises(UserError, match="was closed early; run again to resume"):
        download.fetch(server.url, "big.pth", sha256=SHA)
    assert leftovers(tmp_path) == ["big.pth.part", "big.pth.tag"]
    server.cuts = ()
    assert download.fetch(server.url, "big.pth", sha256=SHA).read_bytes() == BODY
    assert server.asked[-1] == "bytes=5000-"
    assert leftovers(tmp_path) == ["big.pth"]


@pytest.mark.parametrize("stated", ["abc", "-1", "²", "9" * 5000])
def test_a_length_that_is_no_number_is_ignored(server, stated):
    server.stated = stated
    assert download.fetch(server.url, "big.pth", sha256=SHA).read_bytes() == BODY


def test_a_partial_file_of_another_version_is_not_resumed(server):
    server.cuts = (5000, 0)
    with pytest.raises(UserError):
        download.fetch(server.url, "big.pth")
    server.body, server.etag, server.cuts = BODY[::-1], '"two"', ()
    assert download.fetch(server.url, "big.pth").read_bytes() == BODY[::-1]


def test_a_server_without_ranges_is_read_from_the_start(server):
    server.cuts, server.ranges = (5000,), False
    assert download.fetch(server.url, "big.pth", sha256=SHA).read_bytes() == BODY


def test_a_complete_partial_file_needs_no_more_bytes(server):
    path = download.cache_path(server.url, "big.pth")
    path.parent.mkdir(parents=True)
    path.with_name("big.pth.part").write_bytes(BODY)
    path.with_name("big.pth.tag").write_text(server.etag)
    assert download.fetch(server.url, "big.pth", sha256=SHA).read_bytes() == BODY


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256": "0" * 64}, "has SHA-256"),
        ({"size": 7}, "has 10,240 bytes instead of the official 7"),
    ],
)
def test_a_wrong_file_is_deleted(server, tmp_path, known, message):
    with pytest.raises(UserError, match=message):
        download.fetch(server.url, "big.pth", **known)
    assert leftovers(tmp_path) == []


def test_an_http_error_is_reported(server):
    server.status = 404
    with pytest.raises(
        UserError, match="server answers 404 Not Found; download the file by other means"
    ):
        download.fetch(server.url, "big.pth")


def test_an_unreachable_server_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match="cannot be read"):
        download.fetch("http://127.0.0.1:9/big.pth", "big.pth")
