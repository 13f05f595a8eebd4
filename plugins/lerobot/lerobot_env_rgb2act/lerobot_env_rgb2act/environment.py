"""An environment of rgb2act with the observations and attributes that LeRobot expects."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .configuration_rgb2act import build

Observation = dict[str, Any]  # pixels: {camera: uint8 (H, W, 3)}; agent_pos: float64 (A,)


class LeRobotEnv(gymnasium.Env[Observation, NDArray[np.float32]]):  # type: ignore[misc]
    """One environment; an episode ends with success or after ``max_steps``."""

    def __init__(
        self,
        run: str | None = None,
        root: str | None = None,
        spec: str | None = None,
        task_number: int = 0,
    ) -> None:
        environment = build(run, root, spec, task_number)
        self.info = info = environment.info
        self.inner = environment.make()
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": round(info.control_hz)}
        self.render_mode = "rgb_array"
        self.task = self.task_description = info.task
        self.image: NDArray[np.uint8] | None = None
        pixels = spaces.Box(0, 255, (*info.image, 3), np.uint8)
        joints = spaces.Box(-np.inf, np.inf, (len(info.action_names),), np.float64)
        self.observation_space = spaces.Dict(
            {"pixels": spaces.Dict(dict.fromkeys(info.cameras, pixels)), "agent_pos": joints}
        )
        self.action_space = spaces.Box(-np.inf, np.inf, joints.shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. LeRobot's options are its own, so they are not passed on."""
        super().reset(seed=seed)
        if seed is None:  # an environment that ended before the others of its batch
            seed = int(self.np_random.integers(2**31))
        observation, info = self.inner.reset(seed=seed)
        self.task_description = info.get("instruction") or self.info.task
        return self._converted(observation), {"is_success": False}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute an action of float32 (A,)."""
        observation, reward, ended, truncated, info = self.inner.step(
            np.asarray(action, np.float32)
        )
        success = bool(info["success"])
        return (
            self._converted(observation),
            float(reward),
            bool(ended) or success,
            bool(truncated),
            {"is_success": success},
        )

    def render(self) -> NDArray[np.uint8]:
        """Return the newest image of the first camera."""
        assert self.image is not None
        return self.image

    def close(self) -> None:
        """Close the environment."""
        self.inner.close()

    def _converted(self, observation: dict[str, NDArray[Any]]) -> Observation:
        images = observation["rgb"]
        self.image = images[0]
        return {
            "pixels": dict(zip(self.info.cameras, images, strict=True)),
            "agent_pos": observation["joints"].astype(np.float64),
        }
