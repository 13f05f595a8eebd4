"""Processes that share one store, on a file system without ``flock``, do all work once.

The results have the bytes of a single process.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
NO_FLOCK = {"RGB2ACT_PUPPET_FLOCK": "30"}
GROUPS = ("episodes", "features", "embeddings")
Cli = Callable[..., Any]


def content(root: Path, *kinds: str) -> dict[str, bytes]:
    """Return the files of some folders of a store, hidden and lock files included.

    Those that alignment adds are left out.
    """
    paths = [path for kind in kinds for path in (root / "store" / kind).rglob("*")]
    files = [path for path in paths if path.is_file() and not path.match("statistics-*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def evaluation(root: Path) -> tuple[str, dict[str, bytes]]:
    """Return the results of the evaluation, and its other files."""
    files = content(root, "act")
    (name,) = [name for name in files if name.endswith("stage.json")]
    return json.dumps(json.loads(files.pop(name))["results"]), files


@pytest.fixture
def together(cli: Cli, spec_file: Callable[..., Path], tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that runs a command for several shards at the same time.

    It returns the lines that they print.
    """
    spec = spec_file()

    def call(command: str, root: Path, shards: Sequence[str], **env: str) -> list[str]:
        def one(shard: str) -> Any:
            arguments = (command, spec, "--root", root, "--shard", shard)
            return cli(*arguments, **NO_FLOCK, RGB2ACT_PUPPET_WORK=str(tmp_path / "work"), **env)

        with ThreadPoolExecutor(len(shards)) as threads:
            done = list(threads.map(one, shards))
        assert [each.returncode for each in done] == [0] * len(shards), done
        return [line for each in done for line in each.stderr.splitlines()]

    return call


def work(tmp_path: Path) -> Counter[str]:
    """Return what was recorded and embedded, and how often."""
    return Counter((tmp_path / "work").read_text().splitlines())


def test_two_shards_do_the_work_of_one_process(
    together: Callable[..., list[str]], cli: Cli, spec_file: Any, tmp_path: Path, puppet_done: Path
) -> None:
    root, halves = tmp_path / "root", ["1/2", "2/2"]
    together("collect", root, halves)
    together("extract", root, halves)
    assert content(root, *GROUPS) == content(puppet_done, *GROUPS)
    assert set(work(tmp_path).values()) == {1}
    assert cli("train", spec_file(), "--root", root).returncode == 0
    lines = together("act", root, halves)
    assert evaluation(root) == evaluation(puppet_done)
    assert sum("act: success rate" in line for line in lines) >= 1
    assert cli("run", spec_file(), "--root", root).returncode == 0
    assert not list((root / "store").rglob("*.lock"))


def test_five_processes_with_the_same_shard_encode_each_episode_once(
    together: Callable[..., list[str]], tmp_path: Path, puppet_root: Path, puppet_done: Path
) -> None:
    for kind in ("features", "embeddings"):
        shutil.rmtree(puppet_root / "store" / kind)
    lines = together("extract", puppet_root, ["1/2"] * 5)
    assert "teacher/puppet: shard 1/2 is finished; 2 episodes left to other shards" in lines
    together("extract", puppet_root, ["2/2"])
    assert content(puppet_root, *GROUPS) == content(puppet_done, *GROUPS)
    assert set(work(tmp_path).values()) == {1}


def test_what_a_killed_process_claimed_is_encoded_by_another(
    cli: Cli, spec_file: Any, puppet_root: Path, puppet_done: Path
) -> None:
    shutil.rmtree(puppet_root / "store" / "embeddings")
    arguments, env = ("extract", spec_file(), "--root", puppet_root), {"RGB2ACT_PUPPET_FLOCK": "1"}
    killed = cli(*arguments, **env, RGB2ACT_PUPPET="embed:sigkill:1")
    assert killed.returncode == -9
    assert list((puppet_root / "store" / "embeddings").rglob("*.lock"))
    assert cli(*arguments, **env).returncode == 0
    assert content(puppet_root, *GROUPS) == content(puppet_done, *GROUPS)


def test_an_evaluation_of_a_finished_run_is_shared(cli: Cli, puppet_root: Path) -> None:
    arguments = ("act", "puppet", "--seeds", "70:74", "--root", puppet_root, "--json", "--shard")
    first = cli(*arguments, "1/2")
    assert json.loads(first.stdout)["results"] == {}
    assert "act: shard 1/2 is finished; 2 episodes left to other shards" in first.stderr
    episodes = json.loads(cli(*arguments, "2/2").stdout)["results"]["act"]["episodes"]
    assert [episode["seed"] for episode in episodes] == [70, 71, 72, 73]


@pytest.mark.parametrize("command", ["extract", "act"])
def test_a_shard_needs_the_stages_before_it(
    cli: Cli, spec_file: Any, tmp_path: Path, command: str
) -> None:
    done = cli(command, spec_file(), "--root", tmp_path, "--shard", "1/2")
    assert done.returncode == 2
    assert done.stderr.startswith(f"--shard 1/2: only {command} is divided, but collect")


def test_a_replay_is_not_divided(cli: Cli, spec_file: Any, puppet_root: Path) -> None:
    spec = spec_file(act={"replay": True, "baselines": [], "episodes": 2})
    done = cli("act", spec, "--root", puppet_root, "--shard", "1/2")
    assert done.returncode == 2
    assert "--shard 1/2: a replay is not divided into shards; " in done.stderr
