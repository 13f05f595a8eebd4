"""The Gymnasium environment: observations are images and joints, actions are joint targets.

Shapes: V = cameras, H W = pixels, A = 14 actions and joints
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rgb2act_core.interfaces import PointCloud

from .appearance import Appearance, Dresser, draw
from .config import CAMERAS, Tabletop
from .raycast import View
from .tasks import HOLD_STEPS, TASKS, holds, layout
from .views import Renderer, Views, renderer
from .world import ACTION_NAMES, CONTROL_HZ, HIGH_A, LOW_A, World


class TabletopEnv(gymnasium.Env[dict[str, NDArray[Any]], NDArray[np.float32]]):  # type: ignore[misc]
    """One task, simulated. The same seed and actions give the same bytes.

    ``observe = False`` skips rendering: the images of the next observations are black. With
    ``observe_clouds = True``, ``info["cloud"]`` is the point cloud of the workspace.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(CONTROL_HZ)}  # noqa: RUF012

    def __init__(
        self,
        config: Tabletop,
        render_mode: str | None = None,
        render_camera: str = "front",
        render_size: tuple[int, int] = (240, 320),
    ) -> None:
        self.config = config
        self.task = TASKS[config.task]
        self.world = World(self.task)
        self.render_mode = render_mode
        self.observe = True
        self.observe_clouds = False
        self._render_view = (render_camera, *render_size)
        self._renderers: dict[tuple[str, int, int], Renderer] = {}
        self._views = Views(config, self.world.model)
        self._dresser = Dresser(self.world.model)
        self._appearance = Appearance()
        self._steps = self._held = 0
        shape = (len(config.cameras), config.size, config.size, 3)
        self.observation_space = spaces.Dict(
            {"rgb": spaces.Box(0, 255, shape, np.uint8), "joints": spaces.Box(LOW_A, HIGH_A)}
        )
        self.action_space = spaces.Box(LOW_A, HIGH_A)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Sample a new layout from the seed; there are no options."""
        super().reset(seed=seed)
        self.start(self.np_random)
        return self._result()

    def start(self, rng: np.random.Generator) -> None:
        """Sample the layout of the objects and the appearance of an episode, and start it."""
        where = layout(self.task, rng)
        self._appearance = draw(self.task, self.config, rng)
        if self._appearance != Appearance():
            self._dresser.apply(self._appearance)
            self._views.show(self._appearance)
            for each in self._renderers.values():
                each.show(self._appearance)
        self.world.reset(where)
        self._steps = self._held = 0

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Hold joint targets (A,) for 0.1 s; targets are clipped to the joint limits.

        Raises ValueError for another shape or values that are not finite.
        """
        self.world.step(_checked(action))
        self._steps += 1
        held = holds(self.task, self.world.layout.side, self.world.grip())
        self._held = self._held + 1 if held else 0
        observation, info = self._result()
        truncated = self._steps >= self.task.max_steps and not info["success"]
        reward = float(info["success"])
        return observation, reward, info["success"], truncated, info

    def _result(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the observation and the info of the current state."""
        info = {"success": self._held >= HOLD_STEPS, "state": self.world.state()}
        views = self.look() if self.observe or self.observe_clouds else []
        if self.observe_clouds:
            info["cloud"] = self.cloud(views)
        if self.observe:
            rgb_VHW3 = np.stack([view.rgb for view in views])
        else:
            rgb_VHW3 = np.zeros(self.observation_space["rgb"].shape or (), np.uint8)
        return {"rgb": rgb_VHW3, "joints": self.world.joints()}, info

    def look(self) -> list[View]:
        """Return RGB, depth and segmentation of each camera, for recording."""
        return self._views.look(self.world.data)

    def cloud(self, views: list[View]) -> PointCloud:
        """Return the point cloud of the workspace in the given views, in metres, in the world
        frame."""
        return self._views.cloud(views)

    def render(self) -> NDArray[np.uint8] | None:
        """Return an image (H, W, 3) of ``render_camera`` with ``render_size``."""
        return None if self.render_mode is None else self.render_camera(*self._render_view)

    def render_camera(self, camera: str, height: int, width: int) -> NDArray[np.uint8]:
        """Return an image of the current state from any camera, at any size, uint8 (H, W, 3)."""
        if camera not in CAMERAS:
            raise ValueError(f"there is no camera {camera!r}; choose from {', '.join(CAMERAS)}")
        key = (camera, height, width)
        if key not in self._renderers:
            self._renderers[key] = renderer(self.config, self.world.model, *key)
            self._renderers[key].show(self._appearance)
        return self._renderers[key].render(self.world.data).rgb


def _checked(action: Any) -> NDArray[np.float32]:
    action_A = np.asarray(action, dtype=np.float32)
    if action_A.shape != LOW_A.shape:
        raise ValueError(f"action: shape {action_A.shape} where {LOW_A.shape} is needed")
    if not np.isfinite(action_A).all():
        index = int(np.flatnonzero(~np.isfinite(action_A))[0])
        raise ValueError(
            f"action[{index}] ({ACTION_NAMES[index]}): {action_A[index]} is not finite"
        )
    return action_A
