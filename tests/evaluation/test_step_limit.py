"""``[act] max_steps`` ends episodes before the environment's own limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core import open_run
from rgb2act_core.data.video import read_mp4

Cli = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["false", "true"])
def test_episodes_end_at_the_lower_limit(cli: Cli, smoke_root: Path, replay: str) -> None:
    def acted(*limit: str) -> dict[str, Any]:
        options = ("--root", smoke_root, "--set", f"act.replay={replay}", "--json")
        done = cli("act", "smoke", *options, *limit)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    free = acted()["results"]["act"]
    limit = max(episode["steps"] for episode in free["episodes"]) - 1
    found = acted("--set", f"act.max_steps={limit}", "--set", "act.videos=1")
    results = found["results"]["act"]
    assert results["max_steps"] == limit < free["max_steps"]
    ended = [(e["success"], e["steps"]) for e in results["episodes"]]
    assert ended == [
        (e["success"] and e["steps"] <= limit, min(e["steps"], limit)) for e in free["episodes"]
    ]
    (video,) = found["videos"]
    assert len(read_mp4(Path(video))) == limit + 1


def test_a_limit_above_the_environments_own_is_refused(cli: Cli, smoke_root: Path) -> None:
    own = open_run("smoke", smoke_root).results["act"]["max_steps"]
    done = cli("act", "smoke", "--root", smoke_root, "--set", f"act.max_steps={own + 1}")
    assert done.returncode == 2
    assert f"act.max_steps: {own + 1} is more than the limit of reach, {own}" in done.stderr
