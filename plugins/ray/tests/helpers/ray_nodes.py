"""A Ray cluster of three nodes on this machine, and commands that run on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

EXAMPLES = Path(__file__).parents[4] / "examples"
SMOKE, LIFT_DISTRACTORS = EXAMPLES / "smoke.toml", EXAMPLES / "lift_distractors.toml"
MEMORY = 80 * 2**20  # bytes of each node's object store, which is hardly used
WITHIN = 600  # seconds in which a command must end on a busy machine


@attrs.frozen
class Nodes:
    """The nodes of a cluster, and commands on them."""

    cluster: Any

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options that choose the cluster."""
        address = f"compute.engine_address='{self.cluster.address}'"
        return ("--engine", "ray", "--set", address)

    def add(self, **options: Any) -> Any:
        """Start a node with one CPU."""
        return self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY, **options)

    def kill(self, node: Any) -> None:
        """End a node and its processes."""
        self.cluster.remove_node(node, allow_graceful=False)

    def start(
        self, command: str, root: Path, *options: str, spec: Path = SMOKE
    ) -> subprocess.Popen[str]:
        """Start a command on the cluster."""
        return start(command, root, *self.options, *options, spec=spec)

    def run(self, command: str, root: Path, *options: str, spec: Path = SMOKE) -> str:
        """Run a command on the cluster and return what it printed to stderr."""
        return ended(self.start(command, root, *options, spec=spec))


def start(command: str, root: Path, *options: str, spec: Path = SMOKE) -> subprocess.Popen[str]:
    """Start a command on a spec."""
    arguments = [command, str(spec), "--root", str(root), *options]
    return subprocess.Popen(
        [sys.executable, "-m", "rgb2act_core", *arguments, "--set", "compute.simulator_workers=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a command printed to stderr; it must end with this exit code."""
    _, printed = process.communicate(timeout=WITHIN)
    assert process.returncode == code, printed
    return printed


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while a command runs."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def content(root: Path, *kinds: str) -> dict[str, bytes]:
    """Return the files of some folders of a store."""
    paths = [path for kind in kinds for path in (root / "store" / kind).rglob("*")]
    files = [path for path in paths if path.is_file() and not path.match("statistics-*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def models(root: Path) -> dict[str, bytes]:
    """Return weights and learning curves of aligner and policy."""
    paths = [*root.glob("store/align/*/*"), *root.glob("store/policy/*/*")]
    kept = [path for path in paths if path.suffix in (".safetensors", ".jsonl")]
    assert kept
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def results(root: Path) -> Any:
    """Return the results of the evaluation."""
    (path,) = root.glob("store/act/*/stage.json")
    return json.loads(path.read_text())["results"]
