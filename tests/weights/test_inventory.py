"""``rgb2act weights``: list the files that a spec needs and download them ahead of time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save, save_file

from rgb2act_core.errors import UserError
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.weights import inventory
from rgb2act_core.weights.inventory import WeightsStatus

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
BODY = save({"scale": torch.ones(1)})


@pytest.fixture
def url() -> Iterator[str]:
    """Serve the puppet's official file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/puppet"
        server.shutdown()
        thread.join()


def test_every_state_is_listed(cli: Cli, spec_file: SpecFile, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    save_file({"scale": torch.ones(1)}, mine)
    spec = spec_file(
        backbone=[
            {"use": "puppet", "weights": "hub"},
            {"use": "puppet", "weights": "mine.safetensors"},
            {"use": "puppet", "weights": "absent.safetensors"},
            {"use": "puppet", "weights": "random"},
        ]
    )
    env = {"RGB2ACT_CACHE": str(tmp_path / "cache")}
    done = cli("weights", spec, "--json", **env)
    assert done.returncode == 1  # one is missing
    hub, local, absent, random, teacher = (
        WeightsStatus(**row) for row in json.loads(done.stdout)["weights"]
    )
    assert hub == WeightsStatus(
        role="backbone",
        component="puppet",
        state="not downloaded",
        name="Puppet S",
        file="puppet.safetensors",
        licence="CC0-1.0",
        source="http://127.0.0.1:9/puppet",
    )
    assert (local.state, local.path, local.size) == ("available", str(mine), mine.stat().st_size)
    assert (absent.state, absent.path) == ("missing", str(tmp_path / "absent.safetensors"))
    assert random.state == "random"
    assert (teacher.role, teacher.state) == ("teacher", "none")
    shown = cli("weights", spec, **env).stdout
    assert "backbone puppet: not downloaded, unknown size\n  official Puppet S: puppet.saf" in shown
    assert "  source   http://127.0.0.1:9/puppet\n  licence  CC0-1.0\n" in shown
    assert "teacher puppet: needs no file" in shown
    assert "random weights: the output carries no information" in shown


def test_fetch_downloads_missing_files(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, url: str
) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "hub"}])
    env = {"RGB2ACT_CACHE": str(tmp_path / "cache"), "RGB2ACT_PUPPET_URL": url, "no_proxy": "*"}
    done = cli("weights", spec, "--fetch", "--json", **env)
    assert done.returncode == 0, done.stderr
    status = WeightsStatus(**json.loads(done.stdout)["weights"][0])
    assert (status.state, status.size) == ("available", len(BODY))
    assert status.path is not None
    assert Path(status.path).read_bytes() == BODY
    again = cli("weights", spec, "--json", **(env | {"HF_HUB_OFFLINE": "1"}))
    assert json.loads(again.stdout)["weights"][0]["state"] == "available"


def test_fetch_reports_what_cannot_be_downloaded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "hub"}])
    env = {"RGB2ACT_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = cli("weights", spec, "--fetch", **env)
    assert done.returncode == 2
    assert "puppet: Puppet S is not on this machine and HF_HUB_OFFLINE is set" in done.stderr


@pytest.mark.usefixtures("puppet")
def test_fetch_attempts_every_file(spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def locate_weights(weights: str, official: object, component: str) -> None:
        calls.append(component)
        raise UserError(f"no {len(calls)}")

    monkeypatch.setattr(inventory.locate, "locate_weights", locate_weights)
    hub = {"use": "puppet", "weights": "hub"}
    with pytest.raises(UserError) as err:
        inventory.fetch(read_spec(spec_file(backbone=[hub, hub])))
    assert err.value.args == ("no 1", "no 2")


def test_listing_does_not_import_torch(cli: Cli, spec_file: SpecFile) -> None:
    done = cli("weights", spec_file(), PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rgb2act_core.weights.inventory" in loaded
    assert not loaded & {"torch", "zarr", "huggingface_hub"}


@pytest.mark.usefixtures("puppet")
def test_the_size_of_an_index_includes_its_shards(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    for name in ("1", "2"):
        (tmp_path / f"{name}.safetensors").write_bytes(bytes(1000))
    spec = read_spec(spec_file(backbone=[{"use": "puppet", "weights": index.name}]))
    (status, _) = inventory.inventory(spec)
    assert status.size == 2000 + index.stat().st_size


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ("/dev/zero", "is a device; give a regular file"),
        (".", "contains no checkpoint; set weights to a checkpoint file"),
    ],
)
def test_a_path_that_is_no_checkpoint_is_listed(
    spec_file: SpecFile, weights: str, problem: str
) -> None:
    spec = read_spec(spec_file(backbone=[{"use": "puppet", "weights": weights}]))
    status = inventory.inventory(spec)[0]
    assert status.state == "missing"
    assert status.problem.endswith(problem)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read_is_not_taken_for_stdout(cli: Cli, spec_file: SpecFile) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "/proc/self/mem"}])
    done = cli("check", spec, "--no-time")
    assert done.returncode == 2
    assert done.stderr.startswith("/proc/self/mem: input/output error; check the disk, or")
