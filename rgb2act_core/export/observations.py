"""Observations to trace an exported policy with and to compare it on.

Shapes: F = frames, V = cameras, H W = pixels, O = n_obs_steps, J = all joints, K = noise arrays,
S = horizon, A = dimensions moved
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..data.dataset import EpisodeRef

if TYPE_CHECKING:
    from ..policy.policy_graph import PolicyGraph

COUNT = 16  # observations that plans are compared on

Inputs = Mapping[str, NDArray[Any]]


@attrs.frozen(eq=False, kw_only=True)
class Observations:
    """Inputs of a policy graph, noise included: the i-th takes the noise of seed i."""

    inputs: tuple[Inputs, ...]
    recorded: bool  # False: random images and joints


def recorded_observations(graph: PolicyGraph, episodes: Sequence[EpisodeRef]) -> Observations:
    """Return observations of a policy's demonstrations, evenly spaced over episodes and steps."""
    from ..policy.policy_graph import JOINTS, image_input

    config, found = graph.policy.config, []
    for i in range(COUNT):
        ref = episodes[i * len(episodes) // COUNT]
        episode = ref.open()
        assert episode.joints is not None
        step = i * (len(episode.joints) - 1) // (COUNT - 1)
        frames = [max(step - int(age), 0) for age in graph.frame_ages]
        rows = [max(step - int(age), 0) for age in graph.joint_ages]
        inputs: dict[str, NDArray[Any]] = {}
        if frames:
            rgb_FVHW3 = np.stack([episode.rgb[frame] for frame in frames])
            inputs = {image_input(c): rgb_FVHW3[:, v] for v, c in enumerate(config.cameras)}
        inputs[JOINTS] = np.asarray(episode.joints)[rows].astype(np.float32)
        found.append(_complete(graph, inputs, i, ref.task))
    return Observations(inputs=tuple(found), recorded=True)


def random_observations(graph: PolicyGraph) -> Observations:
    """Return observations of random images, and joints within the range of the actions."""
    from ..policy.policy_graph import JOINTS

    config, found = graph.policy.config, []
    tasks = max(len(config.tasks), 1)
    for i in range(COUNT):
        rng = np.random.default_rng(i)
        inputs: dict[str, NDArray[Any]] = {
            name: rng.integers(0, 256, shape, np.uint8)
            for name, (shape, _) in graph.inputs.items()
            if name.startswith("image_")
        }
        joints_OJ = np.zeros((config.n_obs_steps, len(config.action_names)), np.float32)
        spread_OA = rng.uniform(-1, 1, (config.n_obs_steps, len(config.action_index)))
        half_A = graph.policy.half_range(i % tasks).cpu().numpy()
        joints_OJ[:, list(config.action_index)] = spread_OA * half_A
        found.append(_complete(graph, inputs | {JOINTS: joints_OJ}, i, i % tasks))
    return Observations(inputs=tuple(found), recorded=False)


def _complete(graph: PolicyGraph, inputs: Inputs, seed: int, task: int) -> Inputs:
    """Return the inputs that the graph has, with noise and task, in its order."""
    from ..policy.plan_reference import noise_of
    from ..policy.policy_graph import NOISE, TASK

    every = dict(inputs) | {TASK: np.array([task])}
    if NOISE in graph.inputs:
        every[NOISE] = noise_of(graph, seed)
    return {name: np.ascontiguousarray(every[name]) for name in graph.inputs}
