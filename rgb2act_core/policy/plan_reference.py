"""The plan that an evaluation makes from given frames, joints and noise, to compare with.

Shapes: F = frames, V = cameras, H W = pixels, O = n_obs_steps, J = all joints, S = horizon,
A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .batch_planner import BatchPlanner
from .policy_graph import JOINTS, TASK, PolicyGraph, image_input


def reference_plan(
    planner: BatchPlanner, graph: PolicyGraph, inputs: Mapping[str, NDArray[Any]], seed: int
) -> NDArray[np.float32]:
    """Return the plan (S, A) of a planner for the inputs of a graph, and the noise of a seed.

    ``planner`` has one slot. The noise among the inputs is not used.
    """
    config = planner.policy.config
    task = int(inputs[TASK][0]) if TASK in inputs else 0
    history = planner.history(config.tasks[task] if config.tasks else None)
    frames = {int(age): place for place, age in enumerate(graph.frame_ages)}
    rows = {int(age): place for place, age in enumerate(graph.joint_ages)}
    oldest = max([*frames, *rows])
    for age in sorted({*frames, *rows}, reverse=True):
        rgb_VHW3 = np.zeros((len(config.cameras), *config.image, 3), np.uint8)
        joints_J = np.zeros(len(config.action_names), np.float32)
        if age in frames:
            images = [inputs[image_input(camera)][frames[age]] for camera in config.cameras]
            rgb_VHW3 = np.stack(images)
        if age in rows and JOINTS in inputs:
            joints_J = inputs[JOINTS][rows[age]]
        history.add(rgb_VHW3[None], joints_J[None], steps=[oldest - age])
    planner.see([history])
    generator = torch.Generator().manual_seed(seed)
    plan_SA: NDArray[np.float32] = planner.plan({0: history}, {0: generator})[0].actions_PSA[0]
    return plan_SA


def noise_of(graph: PolicyGraph, seed: int) -> NDArray[np.float32]:
    """Return the noise (K, S, A), K > 0, of the first plan of an episode with this seed."""
    config, generator = graph.policy.config, torch.Generator().manual_seed(seed)
    size = (config.horizon, len(config.action_index))
    draws = [torch.randn(size, generator=generator) for _ in range(graph.heads[0].draws)]
    noise_KSA: NDArray[np.float32] = torch.stack(draws).numpy()
    return noise_KSA
