"""A researcher's runs: a spec fails, another succeeds, both are compared, and one is removed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rgb2act_process import Fork

pytestmark = pytest.mark.slow


class Terminal:
    """The command line with one root."""

    def __init__(self, cli: Callable[..., Any], root: Path) -> None:
        self._cli, self._root = cli, root

    def __call__(self, *args: str | Path, code: int = 0, **env: str) -> Any:
        done = self._cli(*args, RGB2ACT_ROOT=str(self._root), **env)
        assert done.returncode == code, done.stderr
        return done

    def json(self, *args: str | Path) -> Any:
        return json.loads(self(*args, "--json").stdout)


def files_of(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_runs_are_kept_compared_and_removed(
    cli: Callable[..., Any], puppet_root: Path, puppet_site: Path
) -> None:
    rgb2act, spec = Terminal(cli, puppet_root), puppet_root / "puppet.toml"
    first = puppet_root / "puppet" / "1"
    before = files_of(first)

    # a changed spec fails while it trains: the name still means the first run
    failed = ("run", spec, "--set", "policy.steps=14")
    rgb2act(*failed, code=1, RGB2ACT_PUPPET="learn:raise:5")
    assert files_of(first) == before
    assert "passed" in rgb2act("verify", "puppet").stdout
    again = rgb2act.json("act", "puppet", "--seeds", "70:72")
    assert again["run"] == str(first)
    tests = Path(__file__).parents[1]
    plugins = os.pathsep.join(map(str, (puppet_site, tests / "puppet", tests.parent)))
    with Fork(
        ["serve", "puppet", "--root", puppet_root, "--json"], {"PYTHONPATH": plugins}
    ) as server:
        assert json.loads(server.stdout.readline())["port"] > 0
        server.send_signal(signal.SIGINT)
    assert rgb2act("report", "puppet").stdout == f"{first / 'report.html'}\n"
    assert (first / "report.html").stat().st_size >= len(before["report.html"])
    assert files_of(first)["run.json"] == before["run.json"]

    # another one succeeds
    rgb2act("run", spec, "--set", "policy.steps=13")
    listed = rgb2act.json("runs")["runs"]
    assert [(each["run"], each["state"]) for each in listed] == [
        ("puppet@1", "finished"),
        ("puppet@2", "stopped after align"),
        ("puppet@3", "finished"),
    ]
    assert listed[2]["changes"] == [{"key": "policy.steps", "old": 14, "new": 13}]
    table = rgb2act("runs", "puppet", COLUMNS="150").stdout
    assert "puppet@2" in table
    assert "policy.steps: 12 -> 14" in table
    assert "steps = 13" in rgb2act("show", "puppet").stdout

    found = rgb2act.json("compare", "puppet@1", "puppet@3")
    assert found["differences"] == [{"key": "policy.steps", "values": [12, 13]}]
    assert found["runs"][1]["paired"]["episodes"] == 4
    page = Path(found["page"]).read_text()
    assert page.count("puppet@3") > 2
    assert "Learning curves" in page

    # one is removed without harm to the other
    policy = puppet_root / _path(rgb2act.json("show", "puppet@1"), "train")
    listed = rgb2act.json("prune", "puppet@1", "puppet@2")
    assert listed["runs"] == ["puppet@1", "puppet@2"]
    assert policy.exists()
    removed = rgb2act.json("prune", "puppet@1", "puppet@2", "--yes")
    assert removed == listed | {"removed": True}
    assert not policy.exists()
    assert not first.exists()
    assert "passed" in rgb2act("verify", "puppet@3").stdout
    record = json.loads((puppet_root / "puppet/3/run.json").read_text())
    assert rgb2act("run", spec, "--set", "policy.steps=13").stderr.count(": cached\n") == 6
    again = json.loads((puppet_root / "puppet/3/run.json").read_text())
    assert again["created"] == record["created"]
    reasons = [stage["reason"] for stage in again["stages"]]
    assert reasons == [stage["reason"] for stage in record["stages"]]
    assert all(reasons)
    message = rgb2act("verify", "puppet@1", code=2).stderr
    assert message == "puppet@1: no such run; puppet has 3\n"


def _path(shown: dict[str, Any], stage: str) -> str:
    (path,) = [each["path"] for each in shown["stages"] if each["stage"] == stage]
    return str(path)
