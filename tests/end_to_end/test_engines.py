"""Stages that an engine divides have the bytes of one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
Cli = Callable[..., Any]


def stored(root: Path, kind: str) -> dict[str, bytes]:
    """Return the files of one folder of a store; those that alignment adds are left out."""
    files = [path for path in (root / "store" / kind).rglob("*") if path.is_file()]
    kept = [path for path in files if not path.match("statistics-*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def test_local_workers_do_the_work_of_one_process(
    cli: Cli, spec_file: Callable[..., Path], puppet_root: Path, puppet_done: Path
) -> None:
    for kind in ("features", "embeddings"):
        shutil.rmtree(puppet_root / "store" / kind)
    workers = ("--set", "compute.engine_workers=2")
    done = cli("extract", spec_file(), "--root", puppet_root, *workers, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "extract: 2 shards on 1 machine of the engine local" in done.stderr
    assert "extract/puppet: cached" in done.stderr  # nothing was left to this process
    for kind in ("features", "embeddings"):
        assert stored(puppet_root, kind) == stored(puppet_done, kind)


@pytest.mark.thorough
def test_an_error_of_a_shard_ends_the_run(
    cli: Cli, spec_file: Callable[..., Path], puppet_root: Path
) -> None:
    spec = spec_file(act={"episodes": 6})
    workers = ("--set", "compute.engine_workers=2")
    failing = {"RGB2ACT_PUPPET": "step:raise:0"}
    done = cli("act", spec, "--root", puppet_root, *workers, **failing)
    assert done.returncode == 2
    assert json.dumps("the puppet's strings are cut")[1:-1] in done.stderr


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("nothing", "--engine nothing: there is no engine 'nothing'; installed: local"),
        ("locl", "--engine locl: there is no engine 'locl'; did you mean 'local'?"),
    ],
)
def test_an_unknown_engine_is_an_error(
    cli: Cli, spec_file: Callable[..., Path], tmp_path: Path, engine: str, message: str
) -> None:
    done = cli("collect", spec_file(), "--root", tmp_path, "--engine", engine)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
