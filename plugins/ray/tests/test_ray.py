"""The stages of a run on a Ray cluster of this machine have the bytes of a local run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core import UserError
from rgb2act_core.interfaces import EngineOptions
from rgb2act_core.testing import light

ROOT = Path(__file__).parents[3]
SMOKE = ROOT / "examples" / "smoke.toml"
MEMORY = 80 * 2**20  # bytes of each node's object store, which is hardly used


def test_listing_the_engine_does_not_import_ray() -> None:
    light("rgb2act_ray")()
    code = (
        "import sys, rgb2act_ray; list(rgb2act_ray.rgb2act_engines());"
        " assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a cluster of three nodes with one CPU each."""
    utils = pytest.importorskip("ray.cluster_utils")
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY}
    nodes = utils.Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield nodes
    nodes.shutdown()


def rgb2act(command: str, root: Path, *options: str) -> str:
    """Run a command on the smoke spec and return what it printed to stderr."""
    arguments = [command, str(SMOKE), "--root", str(root), *options]
    done = subprocess.run(
        [sys.executable, "-m", "rgb2act_core", *arguments, "--set", "compute.simulator_workers=1"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def content(root: Path, *kinds: str) -> dict[str, bytes]:
    """Return the files of some folders of a store."""
    paths = [path for kind in kinds for path in (root / "store" / kind).rglob("*")]
    files = [path for path in paths if path.is_file() and not path.match("statistics-*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def results(root: Path) -> Any:
    """Return the results of the evaluation."""
    (path,) = root.glob("store/act/*/stage.json")
    return json.loads(path.read_text())["results"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a run without an engine."""
    root = tmp_path_factory.mktemp("local")
    rgb2act("run", root)
    return root


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_a_cluster_has_the_bytes_of_a_local_one(
    cluster: Any, local: Path, tmp_path: Path
) -> None:
    options = ("--engine", "ray", "--set", f"compute.engine_address='{cluster.address}'")
    printed = rgb2act("run", tmp_path, *options)
    assert "extract: 3 shards on 3 machines of the engine ray" in printed
    groups = ("episodes", "features", "embeddings")
    assert content(tmp_path, *groups) == content(local, *groups)
    assert results(tmp_path) == results(local)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_vanishes_in_extract_changes_nothing(
    cluster: Any, local: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    rgb2act("collect", tmp_path)
    options = ("--engine", "ray", "--set", f"compute.engine_address='{cluster.address}'")
    run = threading.Thread(target=rgb2act, args=("extract", tmp_path, *options))
    run.start()
    while not list((tmp_path / "store" / "features").glob("*/*")):
        assert run.is_alive()
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    run.join()
    groups = ("episodes", "features", "embeddings")
    assert content(tmp_path, *groups) == content(local, *groups)


@pytest.mark.ray
def test_an_address_without_a_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from rgb2act_ray import connect

    def refuse(**_: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please specify one.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError) as caught, connect(EngineOptions(address="nowhere:1")):
        pass
    assert str(caught.value) == (
        "compute.engine_address: cannot connect to Ray at 'nowhere:1' (Could not find any running"
        " Ray instance. Please specify one); start Ray on the nodes with ray start, or set the"
        " address"
    )
