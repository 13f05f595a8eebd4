"""Scenes without actions, for alignment.

Each setup of a scene gives ``FRAMES`` frames: as it came to rest, then with the objects placed
again, and the arms in poses of the demonstrations or random ones.

Shapes: R = demonstrated frames, A = 14 joints and grippers
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgb2act_core import UserError, arrays_digest
from rgb2act_core.interfaces import Episode

from ..config import Robotwin
from ..recorded.episode_reader import duplicate_marks
from .expert import clouds_of, states_of
from .simulator import Simulator, View

FRAMES = 10  # of each setup; a further frame needs none
RANDOM = 3  # of these frames have the arms in random poses, also with demonstrations
FIRST_SEED = 1_000_000_000  # of scenes; demonstrations and evaluation use lower seeds
CONFIG = (
    *("task", "embodiment", "task_config", "camera", "shader", "planner", "fps"),
    "simulator",
)
DEPTH = ("cloud_points", "crop_low", "crop_high")
ATTEMPTS = 10  # setups in a row that may not come to rest
REPLACEMENT = 100_000_000  # added to the seed of a setup for its replacement


def scene(
    simulator: Simulator, config: Robotwin, seed: int, joints_RA: NDArray[np.float32] | None
) -> Episode:
    """Return one frame of a scene; ``joints_RA`` are demonstrated joints, if known."""
    setup, frame = divmod(seed, FRAMES)
    arms_A = None
    if joints_RA is not None and 0 < frame < FRAMES - RANDOM:
        row = np.random.default_rng((seed, 1)).integers(len(joints_RA))
        arms_A = joints_RA[row].astype(np.float64)
    view = _view(simulator, config, FIRST_SEED + setup, seed if frame else None, arms_A)
    return Episode(
        name=f"scene_{seed:07d}",
        task=config.task,
        instruction=config.task.replace("_", " "),
        cameras=config.views,
        rgb=view.rgb[None],
        joints=None,
        actions=None,
        clouds=clouds_of(config, [view], seed),
        state=duplicate_marks(view.joints[None], config) | states_of([view]),
    )


def inputs(
    config: Robotwin, joints_RA: NDArray[np.float32] | None, state_names: Sequence[str]
) -> dict[str, Any]:
    """Return what a scene depends on, in addition to its seed."""
    clouds = config.clouds if config.clouds in ("none", "depth") else "points"
    depth = {name: getattr(config, name) for name in DEPTH} if clouds == "depth" else {}
    return {
        **{name: getattr(config, name) for name in CONFIG},
        "cameras": list(config.views),
        "jpeg": config.live_jpeg,
        "clouds": clouds,
        **({"cloud_colours": "grey"} if config.grey and clouds != "none" else {}),
        **({} if config.shadows else {"shadows": False}),
        **({"depth": depth | {"cameras": list(config.depth_views)}} if depth else {}),
        "states": list(state_names),
        "arms": None if joints_RA is None else arrays_digest(joints_RA),
    }


def _view(
    simulator: Simulator,
    config: Robotwin,
    setup: int,
    frame: int | None,
    arms_A: NDArray[np.float64] | None,
) -> View:
    """Return the first observation of a setup, or of its replacements, that came to rest."""
    for seed in range(setup, setup + ATTEMPTS * REPLACEMENT, REPLACEMENT):
        view = simulator.scene(seed, frame, arms_A)
        if view is not None:
            return view
    raise UserError(
        f"robotwin: the scene of seed {setup} and {ATTEMPTS - 1} replacements did not come to rest;"
        f" check task_config {config.task_config!r}, or set [collect] scenes = 0"
    )
