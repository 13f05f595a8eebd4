"""Policy module for RoboTwin's script/eval_policy.py; a client of ``rgb2act serve``.

Written by ``rgb2act deploy-robotwin``.

Shapes: V = cameras, H W = pixels, n = actions of one chunk
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.append(HERE)

import rgb2act_images  # noqa: E402 in this folder
from rgb2act_client import Client, ServerError  # noqa: E402

__all__ = ["encode_obs", "eval", "get_model", "reset_model"]

JOINTS = 14  # left arm 6, left gripper, right arm 6, right gripper


class Served:
    """A connection to the policy, the seed of the next episode, and the images' compression."""

    def __init__(self, client: Client, first_seed: int, task: str | None, jpeg: str) -> None:
        self.client, self.next_seed, self.task, self.jpeg = client, first_seed, task, jpeg

    def observe(self, observation: dict[str, Any]) -> None:
        """Send an observation of the simulator to the policy."""
        encoded = encode_obs(observation, self.client.cameras)
        self.client.observe(
            rgb2act_images.as_recorded(encoded["rgb"], self.jpeg), encoded["joints"]
        )


def get_model(usr_args: dict[str, Any]) -> Served:
    """Connect to the server of the argument ``server`` or of the variable RGB2ACT_SERVER."""
    address = usr_args.get("server") or os.environ.get("RGB2ACT_SERVER")
    if not address:
        raise ServerError(
            "there is no policy server; start one with rgb2act serve RUN and give --server"
            " HOST:PORT, or set RGB2ACT_SERVER"
        )
    file = usr_args.get("token_file")
    token = Path(file).read_text(encoding="utf-8").strip() if file else None
    client = Client(str(address), token)
    arms = [usr_args.get(f"{side}_arm_dim", 6) for side in ("left", "right")]
    if len(client.action_names) != JOINTS or arms != [6, 6]:
        raise ServerError(
            f"the policy has {len(client.action_names)} joints and the robot's arms have {arms};"
            " deploy a run of RoboTwin with arms of six joints"
        )
    task = usr_args.get("task_name") if len(client.tasks) > 1 else None
    first_seed = 100_000 * (1 + int(usr_args.get("seed") or 0))
    return Served(client, first_seed, task, rgb2act_images.checked(usr_args.get("jpeg")))


def reset_model(model: Served) -> None:
    """Start an episode; episode k has seed 100000 * (1 + seed) + k."""
    model.client.reset(model.next_seed, model.task)
    model.next_seed += 1


def encode_obs(
    observation: dict[str, Any], cameras: tuple[str, ...] = ("head_camera",)
) -> dict[str, Any]:
    """Return ``rgb`` uint8 (V, H, W, 3) of the cameras and ``joints`` float32 (14,)."""
    views = observation["observation"]
    for camera in cameras:
        if camera not in views or "rgb" not in views[camera]:
            raise ServerError(
                f"the policy needs {camera!r}, RoboTwin renders {', '.join(views)}; enable it in"
                " the task's config"
            )
    sizes = {np.shape(views[camera]["rgb"]) for camera in cameras}
    if len(sizes) > 1:
        raise ServerError(
            f"cameras {', '.join(cameras)} have sizes {sorted(sizes)}; use the same camera type for"
            " all"
        )
    return {
        "rgb": np.stack([np.asarray(views[camera]["rgb"], np.uint8) for camera in cameras]),
        "joints": np.asarray(observation["joint_action"]["vector"], np.float32),
    }


def eval(TASK_ENV: Any, model: Served, observation: dict[str, Any]) -> None:
    """Execute the actions of one chunk and observe after each but the last.

    RoboTwin passes the observation after the last action to the next call.
    """
    model.observe(observation)
    actions_n14 = model.client.act()
    for i, action in enumerate(actions_n14):
        TASK_ENV.take_action(checked(action))
        if TASK_ENV.eval_success or TASK_ENV.take_action_cnt >= TASK_ENV.step_lim:
            return
        if i + 1 < len(actions_n14):
            model.observe(TASK_ENV.get_obs())


def checked(action: Any) -> Any:
    """Return a valid action; RoboTwin itself checks neither shape nor NaN."""
    if action.shape != (JOINTS,) or not np.isfinite(action).all():
        raise ServerError(f"the policy's action {action.tolist()} is not {JOINTS} finite numbers")
    return action
