"""Finding weights, reading checkpoints without running their code, loading them strictly."""

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rgb2act_core import UserError
from rgb2act_core.weights import (
    OfficialWeights,
    download,
    load_strict,
    locate,
    locate_weights,
    read_checkpoint,
)

ADDRESS = OfficialWeights(name="Net", filename="net.pth", url="http://127.0.0.1:9/net.pth", size=3)
REPO = OfficialWeights(
    name="Net-L", filename="net.safetensors", repo="lab/net", accept="https://lab/ok"
)


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(3, generator=generator),
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def messages(monkeypatch):
    lines = []
    monkeypatch.setattr(locate, "say", lines.append)
    return lines


# locate


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


# read


def test_safetensors_are_read(tmp_path):
    save_file(tensors(), tmp_path / "a.safetensors")
    assert same(read_checkpoint(tmp_path / "a.safetensors"), tensors())


@pytest.mark.parametrize("modern", [True, False])
def test_files_of_torch_keep_nested_containers(tmp_path, modern):
    content = {"model": tensors(), "kwargs": {"depth": 3, "size": (2, 2), "pos": "RoPE100"}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=modern)
    found = read_checkpoint(tmp_path / "a.pth")
    assert same(found["model"], tensors())
    assert found["kwargs"] == content["kwargs"]


def test_harmless_types_of_training_scripts_are_read(tmp_path):
    content = {
        "state_dict": tensors(),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
    }
    torch.save(content, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")
    assert found["args"].lr == 0.1
    assert found["best"] == 0.5


def test_shards_are_merged(tmp_path):
    full = tensors()
    for key in full:
        save_file({key: full[key]}, tmp_path / f"{key}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: f"{key}.safetensors" for key in full}}))
    assert same(read_checkpoint(index), full)
    assert same(read_checkpoint(tmp_path), full)
    (tmp_path / "bias.safetensors").unlink()
    with pytest.raises(UserError, match=r"1 of 2 shards are missing: bias\.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "..", 3])
def test_an_index_cannot_name_files_outside_its_folder(tmp_path, name):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="index"):
        read_checkpoint(index)


def test_standard_hugging_face_names_take_precedence(tmp_path):
    for name in ("adapter", "model"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    assert list(read_checkpoint(tmp_path)) == ["model"]


def test_a_folder_with_two_checkpoints_is_ambiguous(tmp_path):
    for name in ("a", "b"):
        save_file(tensors(), tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match=r"several checkpoints \(a\.safetensors, b\.safetensors\)"):
        read_checkpoint(tmp_path)


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("modern", [True, False])
def test_a_file_with_code_is_rejected_and_not_run(tmp_path, modern):
    path, marker = tmp_path / "a.pth", tmp_path / "marker"
    content = {**tensors(), "x": Hostile(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(UserError, match=r"was not loaded because it would run '\w+\.system'"):
        read_checkpoint(path)
    assert not marker.exists()


def test_files_that_are_not_checkpoints_are_named(tmp_path):
    page = tmp_path / "page.pth"
    page.write_text("<html>not found</html>")
    with pytest.raises(UserError, match=r"page\.pth: is damaged or not a checkpoint"):
        read_checkpoint(page)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    with pytest.raises(UserError, match=r"empty\.safetensors: is damaged or not a checkpoint"):
        read_checkpoint(empty)
    pointer = tmp_path / "pointer.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        read_checkpoint(pointer)
    bare = tmp_path / "bare.pth"
    torch.save(torch.zeros(3), bare)
    with pytest.raises(UserError, match="contains a Tensor instead of named tensors"):
        read_checkpoint(bare)
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "old"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_reported_as_damaged(tmp_path, suffix, keep):
    path, full = tmp_path / f"a.{suffix}", {"a": torch.ones(2000)}
    if suffix == "safetensors":
        save_file(full, path)
    else:
        torch.save(full, path, _use_new_zipfile_serialization=suffix == "pth")
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(UserError, match="is damaged or not a checkpoint"):
        read_checkpoint(path)


# load_strict


def test_tensors_are_assigned_without_a_copy():
    with torch.device("meta"):
        net = nn.Linear(4, 3)
    given = tensors()
    load_strict(net, given, source="a.pth")
    assert net.weight.data_ptr() == given["weight"].data_ptr()
    assert same(dict(net.state_dict()), given)


def test_only_floating_point_tensors_are_cast():
    class Counted(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.register_buffer("count", torch.zeros(2, dtype=torch.int64))

    with torch.device("meta"):
        net = Counted()
    load_strict(net, {**tensors(), "count": torch.ones(2).long()}, source="a", dtype=torch.bfloat16)
    assert net.weight.dtype is torch.bfloat16
    assert net.count.dtype is torch.int64


def test_every_mismatched_key_is_listed():
    with torch.device("meta"):
        net = nn.Linear(4, 3)
    wrong = {"weight": torch.zeros(3, 5), **{f"more{i}": torch.zeros(1) for i in range(10)}}
    with pytest.raises(UserError) as caught:
        load_strict(net, wrong, source="a.pth")
    missing, unexpected, shape = caught.value.args
    assert missing.startswith("a.pth: 1 of 2 keys missing: bias; use")
    assert unexpected.startswith("a.pth: 10 keys unexpected: more0, more1,")
    assert "more7 and 2 more" in unexpected
    assert "weight [3, 5] instead of [3, 4]" in shape
    assert all(p.is_meta for p in net.parameters())


def test_integers_are_not_accepted_as_weights():
    net = nn.Linear(4, 3)
    wrong = {**tensors(), "bias": torch.zeros(3, dtype=torch.int8)}
    with pytest.raises(UserError, match=r"bias \[3\] of integers instead of \[3\]"):
        load_strict(net, wrong, source="a.pth")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, rgb2act_core.weights as w; w.load_strict; w.locate_weights;"
    code += " w.read_checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
