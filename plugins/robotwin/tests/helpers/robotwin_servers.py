"""Train a tiny policy on recorded episodes, and serve it from the command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rgb2act_process

DATA = Path(__file__).parents[1] / "data/beat_block_hammer/demo_cpu"
SPEC = f"""
name = "deployed"

[environment]
use = "robotwin"
task = "beat_block_hammer"
data = {str(DATA)!r}
cameras = ["head_camera", "left_camera"]
clouds = "none"

[[backbone]]
use = "patchstats"

[teacher]
use = "cloudstats"

[align]
fusion = {{ use = "weighted" }}

[policy]
condition = "single_backbone"
head = {{ use = "diffusion", denoiser = "mlp", mlp = {{ width = 16, blocks = 1 }} }}
n_obs_steps = 2
horizon = 4
n_action_steps = 3
steps = 3
warmup = 1
batch_size = 4

[act]
episodes = 2
parallel_episodes = 2

[compute]
device = "cpu"
simulator_workers = 1
threads = 1
"""


def train(root: Path) -> Path:
    """Train the policy and return the run's folder."""
    spec, runs = root / "deployed.toml", root / "runs"
    spec.write_text(SPEC)
    done = rgb2act_process.run(["train", spec, "--root", runs])
    assert done.returncode == 0, done.stderr
    return runs / "deployed" / "1"


@contextlib.contextmanager
def serving(command: str, run: Path, *args: str) -> Iterator[dict[str, Any]]:
    """Serve a run in a subprocess; yield its JSON line, to which its stderr is added at the end."""
    with subprocess.Popen(
        [*rgb2act_process.command(), command, str(run), "--json", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        info = json.loads(line) if line else {}
        try:
            yield info
        finally:
            _, info["errors"] = rgb2act_process.stop(process)
            assert process.returncode == 0, info["errors"]


class Recorded:
    """Observations of a recorded episode, in place of the simulator's.

    ``rgb`` is what a simulator renders, ``seen`` the same after the compression of recordings.
    """

    def __init__(self) -> None:
        from rgb2act_robotwin import Robotwin, build
        from rgb2act_robotwin.evaluation.deploy_files.rgb2act_images import as_recorded

        config = Robotwin(
            task="beat_block_hammer",
            data=DATA,
            cameras=("head_camera", "left_camera"),
            clouds="none",
        )
        episode = build(config).recorded()[0]
        self.rgb = np.asarray(episode.rgb[:])
        self.seen = np.stack([as_recorded(views, "bgr") for views in self.rgb])
        assert episode.joints is not None
        self.joints = episode.joints


def planned(run: Path, recorded: Recorded, seed: int, groups: list[list[int]]) -> np.ndarray:
    """Return the actions (plans, n, 14) of evaluation, given the frames before each plan."""
    from rgb2act_core.policy import rollout  # internal: the reference that servers must match
    from rgb2act_core.serving import load_server

    _, sessions = load_server(run)
    sessions.close()
    planner, act = sessions.planner, sessions.act
    led = rollout.start_rollout(planner, act, seed, recorded.joints[groups[0][0]])
    plans = []
    for group in groups:
        for at in group:
            led.history.add(recorded.seen[at : at + 1], recorded.joints[at : at + 1])
        planner.see([led.history])
        plans.append(rollout.step_rollouts(planner, act, {0: led})[0])
    return np.stack(plans)
