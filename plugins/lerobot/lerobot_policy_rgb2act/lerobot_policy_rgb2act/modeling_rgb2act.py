"""The policy as LeRobot calls it: one action a step for each environment of a batch.

Shapes: B = environments, V = cameras, H W = pixels, A = joints, n = actions of a plan
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lerobot.policies.pretrained import PreTrainedPolicy
from numpy.typing import NDArray

from .configuration_rgb2act import Rgb2ActConfig
from .planners import EpisodePlanner, planner_factory

if TYPE_CHECKING:
    from torch import Tensor

IMAGES, STATE, TASK = "observation.images.", "observation.state", "task"
NOT_TRAINED = "policies of rgb2act are trained with `rgb2act run SPEC`"


class Rgb2ActPolicy(PreTrainedPolicy):  # type: ignore[misc]
    """A trained policy of rgb2act."""

    config_class = Rgb2ActConfig
    name = "rgb2act"

    def __init__(self, config: Rgb2ActConfig, folder: str | None = None, **_: Any) -> None:
        super().__init__(config)
        self._make = planner_factory(config, folder)
        self._planners: list[EpisodePlanner] = []
        self._actions: list[deque[NDArray[np.float32]]] = []
        self._started = False
        self._next_seed = config.seed

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: Rgb2ActConfig | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Rgb2ActPolicy:
        """Return the policy in a folder or repository that ``rgb2act push`` wrote.

        Weights are read by rgb2act, which compares them with their digests.
        """
        if config is None:
            config = Rgb2ActConfig.from_pretrained(pretrained_name_or_path, revision=revision)
        return cls(config, str(pretrained_name_or_path)).eval()

    def reset(self) -> None:
        """Start an episode in every environment."""
        self._started = False

    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """Return the next action of each environment, float32 (B, A)."""
        import torch

        joints_BA = batch[STATE].cpu().numpy().astype(np.float32)
        self._start(len(joints_BA), batch.get(TASK))
        cameras = self._planners[0].cameras
        if missing := [f"{IMAGES}{c}" for c in cameras if f"{IMAGES}{c}" not in batch]:
            found = sorted(key for key in batch if key.startswith(IMAGES))
            raise KeyError(
                f"the policy needs {missing[0]}, the environment has {found}; map it with"
                " --rename_map"
            )
        images = [batch[f"{IMAGES}{camera}"] for camera in cameras]
        rgb_BVHW3 = np.stack([_pixels(image) for image in images], axis=1)
        for index, planner in enumerate(self._planners):
            planner.observe(rgb_BVHW3[index], joints_BA[index])
            if not self._actions[index]:
                self._actions[index].extend(planner.act())
        actions = np.stack([queue.popleft() for queue in self._actions])
        return torch.from_numpy(actions)

    def _start(self, count: int, tasks: list[str] | None) -> None:
        """Start the episodes of a batch, with the seed after that of the last one."""
        if self._started:
            return
        while len(self._planners) < count:
            self._planners.append(self._make())
        self._planners = self._planners[:count]
        self._actions = [deque() for _ in range(count)]
        for index, planner in enumerate(self._planners):
            known = getattr(planner, "tasks", ())
            task = tasks[index] if tasks and len(known) > 1 else None
            planner.reset(self._next_seed + index, task)
        self._next_seed += count
        self._started = True

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """Raise NotImplementedError: a plan depends on the actions that were executed."""
        raise NotImplementedError("rgb2act plans from its history; call select_action at each step")

    def forward(self, batch: dict[str, Any]) -> Any:
        """Raise NotImplementedError: LeRobot does not train the policy."""
        raise NotImplementedError(NOT_TRAINED)

    def get_optim_params(self) -> dict[str, Any]:
        """Raise NotImplementedError: LeRobot does not train the policy."""
        raise NotImplementedError(NOT_TRAINED)


def _pixels(image_B3HW: Tensor) -> NDArray[np.uint8]:
    """Return float images in 0..1 as the bytes (B, H, W, 3) that they were made of."""
    values = (image_B3HW * 255).round().clamp(0, 255).permute(0, 2, 3, 1)
    return values.byte().cpu().numpy()
