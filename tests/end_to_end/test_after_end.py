"""What a policy does after the end of the demonstrations that it learned from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

SpecFile = Callable[..., Path]
LENGTH = 6  # of the demonstrations; an episode has 11 steps


def distances(spec: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return the distance of each joint's command from the goal, (episodes, steps, A)."""
    from rgb2act_puppet import GOAL

    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(root))
    chain.run_pipeline(read_spec(spec), root)
    logs = [path.read_text().splitlines() for path in sorted(root.glob("*.jsonl"))]
    for path in root.glob("*.jsonl"):
        path.unlink()
    return np.abs(np.array([[json.loads(line) for line in lines] for lines in logs]) - GOAL)


@pytest.mark.usefixtures("puppet")
def test_policy_stays_at_a_goal_that_is_the_last_frame(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both policies execute chunks that are longer than the rest of a demonstration."""
    found = {}
    for after_end in ("repeat", "mask"):
        spec = spec_file(
            environment={"use": "puppet", "approach": True, "lengths": [LENGTH]},
            collect={"episodes": 16, "scenes": 0},
            policy={
                "head": {"use": "diffusion", "mlp": {"width": 64, "blocks": 2}},
                "condition": "proprio_only",
                "after_end": after_end,
                "horizon": 8,
                "n_action_steps": 8,
                "steps": 200,
                "batch_size": 48,
                "lr": 1e-2,
                "ema": 0.98,
                "holdout": 0.0,
            },
            act={"episodes": 4, "parallel_episodes": 4, "videos": 0},
        )
        commands = distances(spec, tmp_path, monkeypatch)
        assert commands[:, 0].mean() > 0.1  # the way to the goal is long
        found[after_end] = float(commands[:, LENGTH:].mean())
    # With training seeds 1 and 2, policies that learned to stay ended 0.0050 and 0.0054 away from
    # the goal, the others 0.094 and 0.061. The limit is near the geometric mean, so that each may
    # be wrong by a factor of three.
    assert found["repeat"] < 0.018 < found["mask"]
