"""The environment: demonstrations by the expert, scenes, and the simulator.

Shapes: T = steps, V = cameras, H W = pixels, A = 14 actions and joints
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from rgb2act_core.interfaces import EnvironmentInfo, Episode, PointCloud

from .config import Tabletop
from .environment import TabletopEnv
from .expert import Expert
from .kinematics import Kinematics
from .tasks import TASKS
from .world import ACTION_NAMES, CONTROL_HZ, HANDS, HIGH_A, LOW_A

_TRIES = 20


@attrs.frozen(eq=False, kw_only=True)
class _Frame:
    rgb: NDArray[np.uint8]  # (V, H, W, 3)
    joints: NDArray[np.float32]  # (A,)
    cloud: PointCloud
    state: dict[str, NDArray[np.float32]]


class TabletopEnvironment:
    """Implements ``rgb2act_core.interfaces.Environment``."""

    def __init__(self, config: Tabletop) -> None:
        task = TASKS[config.task]
        self.config = config
        self.task = task
        self.info = EnvironmentInfo(
            task=task.name,
            cameras=config.cameras,
            image=(config.size, config.size),
            action_names=ACTION_NAMES,
            control_hz=CONTROL_HZ,
            max_steps=task.max_steps,
            demonstrates=True,
            state_names=task.state_names,
            hand_states=("hands",),
        )

    @cached_property
    def _env(self) -> TabletopEnv:
        env = self.make()
        env.observe = False  # frames are recorded with their depth by _look
        return env

    @cached_property
    def _expert(self) -> Expert:
        return Expert(Kinematics(self._env.world.model))

    def recorded(self) -> Sequence[Episode]:
        """Return no episodes, because the expert records them."""
        return ()

    def make(self) -> TabletopEnv:
        """Return a new, independent simulator."""
        return TabletopEnv(self.config)

    def demonstrate(self, seed: int, noise: float) -> Episode | None:
        """Record the expert until it succeeds, or return None if it fails.

        Executed actions have Gaussian noise with that standard deviation in radians (for grippers,
        as a fraction of their range). The recorded actions have no noise.
        """
        env = self._env
        env.reset(seed=seed)
        plan_TA = self._expert.plan(self.task, env.world.layout)
        if plan_TA is None:
            return None
        rng = np.random.default_rng((seed, 1))
        frames: list[_Frame] = []
        for action_A in plan_TA:
            frames.append(self._look(env))
            shaken_A = action_A + noise * rng.standard_normal(len(action_A)).astype(np.float32)
            _, _, success, truncated, _ = env.step(shaken_A)
            if success:
                return self._episode(f"episode_{seed:07d}", frames, plan_TA[: len(frames)])
            if truncated:
                break
        return None

    def scene(self, seed: int) -> Episode:
        """Record one frame near a random step of the expert in a random layout."""
        env = self._env
        rng = np.random.default_rng((seed, 2))
        low, high = self.config.scene_deviation
        for _ in range(_TRIES):
            env.start(rng)
            script = self._expert.script(self.task, env.world.layout)
            at = float(rng.uniform(0, script.steps))
            joints_A = self._expert.snapshot(script, at)
            if joints_A is None:
                continue
            for hand in HANDS:
                std = low if low == high else rng.uniform(low, high)
                joints_A[hand] += rng.normal(0, std, joints_A[hand].shape)
            env.world.pose(np.clip(joints_A, LOW_A, HIGH_A))
            for carry in script.carries:
                if at >= carry.since:
                    env.world.carry(carry.side, carry.ahead, carry.pitch)
            return self._episode(f"scene_{seed:07d}", [self._look(env)], None)
        raise RuntimeError(f"scene {seed}: no pose of the expert is reachable")

    @staticmethod
    def _look(env: TabletopEnv) -> _Frame:
        views = env.look()
        return _Frame(
            rgb=np.stack([view.rgb for view in views]),
            joints=env.world.joints(),
            cloud=env.cloud(views),
            state=env.world.state(),
        )

    def _episode(
        self, name: str, frames: list[_Frame], actions_TA: NDArray[np.float32] | None
    ) -> Episode:
        joints_TA = np.stack([frame.joints for frame in frames])
        return Episode(
            name=name,
            task=self.task.name,
            instruction=self.task.instruction,
            cameras=self.config.cameras,
            rgb=np.stack([frame.rgb for frame in frames]),
            joints=None if actions_TA is None else joints_TA,
            actions=actions_TA,
            clouds=[frame.cloud for frame in frames],
            state={
                key: np.stack([frame.state[key] for frame in frames])
                for key in self.info.state_names
            },
        )
