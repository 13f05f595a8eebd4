"""The stages of a run on a Ray cluster have the bytes of a local run, whatever ends meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import (
    LIFT_DISTRACTORS,
    WITHIN,
    Nodes,
    content,
    ended,
    models,
    results,
    start,
    wait_for,
)

from rgb2act_core import UserError
from rgb2act_core.interfaces import EngineOptions
from rgb2act_core.testing import light

GROUPS = ("episodes", "features", "embeddings")
ray_test = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_listing_the_engine_does_not_import_ray() -> None:
    light("rgb2act_ray")()
    code = (
        "import sys, rgb2act_ray; list(rgb2act_ray.rgb2act_engines());"
        " assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestStages:
    """Stages that are divided among three nodes."""

    pytestmark = ray_test

    def test_a_run_has_the_bytes_of_a_local_one(
        self, nodes: Nodes, local: Path, tmp_path: Path
    ) -> None:
        printed = nodes.run("run", tmp_path)
        assert "extract: 3 shards on 3 machines of the engine ray" in printed
        assert content(tmp_path, *GROUPS) == content(local, *GROUPS)
        assert results(tmp_path) == results(local)

    def test_a_reduced_example_has_the_bytes_of_a_local_one(
        self, nodes: Nodes, tmp_path: Path
    ) -> None:
        values = ("collect.episodes=6", "collect.scenes=40", "align.steps=20", "policy.steps=20")
        values += ("act.episodes=6", "act.videos=0")
        options = [word for value in values for word in ("--set", value)]
        alone, root = tmp_path / "alone", tmp_path / "root"
        ended(start("run", alone, *options, spec=LIFT_DISTRACTORS))
        nodes.run("run", root, *options, spec=LIFT_DISTRACTORS)
        assert content(root, *GROUPS) == content(alone, *GROUPS)
        assert models(root) == models(alone)
        assert results(root) == results(alone)

    def test_a_node_that_vanishes_in_collect_changes_nothing(
        self, nodes: Nodes, local: Path, tmp_path: Path
    ) -> None:
        node = nodes.add()
        process = nodes.start("collect", tmp_path)
        wait_for(lambda: any((tmp_path / "store" / "episodes").glob("*/*")), process)
        nodes.kill(node)
        ended(process)
        assert content(tmp_path, "episodes") == content(local, "episodes")

    def test_a_node_that_vanishes_in_extract_changes_nothing(
        self, nodes: Nodes, local: Path, root_with: Callable[..., Path]
    ) -> None:
        root, node = root_with("episodes"), nodes.add()
        process = nodes.start("extract", root)
        wait_for(lambda: any((root / "store" / "features").glob("*/*")), process)
        nodes.kill(node)
        ended(process)
        assert content(root, *GROUPS) == content(local, *GROUPS)

    def test_a_node_that_has_just_vanished_is_left_out(
        self, nodes: Nodes, local: Path, root_with: Callable[..., Path]
    ) -> None:
        root = root_with("episodes")
        nodes.kill(nodes.add())
        assert " on 3 machines of the engine ray" in nodes.run("extract", root)
        assert content(root, *GROUPS) == content(local, *GROUPS)

    def test_a_node_that_vanishes_in_act_changes_nothing(
        self, nodes: Nodes, local: Path, root_with: Callable[..., Path], tmp_path: Path
    ) -> None:
        batches = ("--set", "act.parallel_episodes=1", "--set", "act.episodes=8")
        root, node = root_with(*GROUPS, "align", "policy"), nodes.add()
        alone = shutil.copytree(root, tmp_path / "alone")
        ended(start("act", alone, *batches))
        process = nodes.start("act", root, *batches)
        wait_for(lambda: any(root.glob("store/act/*.shards/*")), process)
        nodes.kill(node)
        ended(process)
        assert results(root) == results(alone)

    def test_a_driver_that_is_killed_continues_when_it_is_started_again(
        self, nodes: Nodes, local: Path, root_with: Callable[..., Path]
    ) -> None:
        root = root_with("episodes")
        process = nodes.start("extract", root)
        wait_for(lambda: any((root / "store" / "features").glob("*/*")), process)
        process.kill()
        process.communicate()
        nodes.run("extract", root)
        assert content(root, *GROUPS) == content(local, *GROUPS)


class TestSweeps:
    """Combinations that run on the nodes."""

    pytestmark = ray_test

    def test_each_runs_on_a_node_and_has_the_results_of_a_local_sweep(
        self, nodes: Nodes, root_with: Callable[..., Path], tmp_path: Path
    ) -> None:
        root = root_with(*GROUPS)
        alone = shutil.copytree(root, tmp_path / "alone")
        quick = ("--set", "policy.condition=proprio_only", "--set", "act.videos=0", "--json")
        axes = (*quick, "--set", "policy.n_action_steps=2,99", "--set", "seed=0,1")
        expected = start("sweep", alone, *axes)
        process = nodes.start("sweep", root, *axes)
        found, printed = process.communicate(timeout=WITHIN)
        assert process.returncode == 1, printed
        assert "sweep: 2 runs on 3 machines of the engine ray" in printed
        named = [line for line in printed.splitlines() if line.startswith("failed: ")]
        assert [line.partition(": ")[2].partition(": ")[0] for line in named] == [
            "policy.n_action_steps=99 seed=0",
            "policy.n_action_steps=99 seed=1",
        ]
        table = json.loads(expected.communicate(timeout=WITHIN)[0])["table"]
        assert json.loads(found)["table"] == table
        assert [bool(run["run"]) for run in json.loads(found)["runs"]] == [True, True, False, False]
        assert models(root) == models(alone)


class TestErrors:
    """What prevents a run from starting."""

    @pytest.mark.ray
    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_a_node_with_other_versions_is_named(self, nodes: Nodes, tmp_path: Path) -> None:
        newer = tmp_path / "newer" / "rgb2act_tabletop-9.9.dist-info"
        newer.mkdir(parents=True)
        (newer / "METADATA").write_text("Name: rgb2act-tabletop\nVersion: 9.9\n")
        (newer / "entry_points.txt").write_text("[rgb2act]\ntabletop = rgb2act_tabletop\n")
        node = nodes.add(env_vars={"PYTHONPATH": str(newer.parent)})
        printed = ended(nodes.start("collect", tmp_path / "root"), code=2)
        nodes.kill(node)
        assert printed.count("\nmachine ") == 1, printed
        assert ": has rgb2act-tabletop 9.9, here it is " in printed
        assert not list((tmp_path / "root").glob("store/episodes/*/*"))

    @pytest.mark.ray
    def test_an_address_without_a_cluster(self) -> None:
        pytest.importorskip("ray")
        with pytest.raises(UserError) as caught, _connected("127.0.0.1:1"):
            pass
        assert str(caught.value) == (
            "compute.engine_address: cannot connect to Ray at '127.0.0.1:1' (Connection refused);"
            " start Ray on the nodes with ray start, or set the address"
        )

    @pytest.mark.ray
    def test_no_cluster_on_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ray = pytest.importorskip("ray")

        def refuse(**_: Any) -> None:
            raise ConnectionError("Could not find any running Ray instance. Please specify one.")

        monkeypatch.setattr(ray, "init", refuse)
        with (
            pytest.raises(UserError, match=r"at 'auto' \(Could not find any running Ray"),
            _connected("auto"),
        ):
            pass

    @pytest.mark.ray
    def test_a_cluster_that_asks_for_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ray = pytest.importorskip("ray")
        from ray.exceptions import AuthenticationError

        def refuse(**_: Any) -> None:
            raise AuthenticationError("RPC error: InvalidAuthToken")

        monkeypatch.setattr(ray, "init", refuse)
        with (
            pytest.raises(UserError, match="asks for its token; set RAY_AUTH_MODE=token"),
            _connected("auto"),
        ):
            pass


def _connected(address: str) -> AbstractContextManager[object]:
    from rgb2act_ray import connect

    return connect(EngineOptions(address=address))
