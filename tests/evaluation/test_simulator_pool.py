"""A lost environment or worker process costs the time of one episode and changes no result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.evaluation.simulator_pool import RETRIES, SimulatorPool
from rgb2act_core.plugins import registry
from rgb2act_core.plugins.components import Kind

pytestmark = pytest.mark.slow


def acted(root: Path) -> tuple[dict[str, Any], Path]:
    (path,) = root.glob("store/act/*/stage.json")
    return json.loads(path.read_text())["results"], path.parent


@pytest.mark.parametrize("kind", ["die", "lose"])
def test_a_lost_simulator_does_not_change_results(
    cli: Callable[..., Any], spec_file: Callable[..., Path], puppet_done: Path, kind: str
) -> None:
    tmp = (spec := spec_file()).parent
    done = cli("run", spec, "--root", tmp, RGB2ACT_PUPPET=f"step:{kind}:9:{tmp / 'tripped'}")
    assert done.returncode == 0, done.stderr
    assert (tmp / "tripped").exists()
    results, folder = acted(tmp)
    assert results == acted(puppet_done)[0]
    lost = json.loads((folder / "lost.json").read_text())["lost"]
    slots = 2 if kind == "die" else 1  # one process simulates both
    assert [item["seed"] for item in lost] == [0, 1][:slots]
    message = "a worker process died (exit -9)" if kind == "die" else "the stage is on fire"
    assert all(message in item["why"] for item in lost)
    assert done.stderr.count("act: restarting the episode with seed") == slots
    video, other = (path / "videos/seed_0000000.mp4" for path in (folder, acted(puppet_done)[1]))
    assert video.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("puppet")
def test_repeated_losses_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RGB2ACT_PUPPET", "step:die:3")
    config = registry.find(Kind.ENVIRONMENT, "puppet").tiny
    chunk = np.zeros((2, 4), np.float32)
    with SimulatorPool("puppet", config, 1, {0}, 1) as simulators:
        simulators.reset({0: 5}, {})
        simulators.step({0: chunk})
        with pytest.raises(UserError, match="seed 5 failed after 3 retries: a worker"):
            simulators.step({0: chunk})
        assert [item["chunk"] for item in simulators.lost] == [2] * RETRIES


@pytest.mark.usefixtures("puppet")
def test_a_replay_that_diverges_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    config = registry.find(Kind.ENVIRONMENT, "puppet").tiny
    chunk = np.zeros((2, 4), np.float32)
    with SimulatorPool("puppet", config, 2, {0}, 1) as simulators:
        simulators.reset({0: 5, 1: 6}, {})
        simulators._episodes[0].digests[0] = "what a repeat will not give"
        simulators.processes[0].kill()
        with pytest.raises(UserError, match=r"seed 5 was replayed .* is not deterministic"):
            simulators.step({0: chunk})


@pytest.mark.usefixtures("puppet")
def test_idle_slots_are_replayed_too() -> None:
    config = registry.find(Kind.ENVIRONMENT, "puppet").tiny
    chunk = np.full((2, 4), 0.25, np.float32)
    with SimulatorPool("puppet", config, 2, {0}, 1) as simulators:
        simulators.reset({0: 5, 1: 6}, {})
        simulators.step({1: chunk})
        simulators.processes[0].kill()
        simulators.step({0: chunk})
        result = simulators.step({1: chunk})[1]
        assert (result.steps, result.joints.tolist()) == (4, [[0.25] * 4])
