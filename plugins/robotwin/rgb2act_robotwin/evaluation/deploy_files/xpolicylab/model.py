"""Model for XPolicyLab's own policy server; a client of ``rgb2act serve``.

Written by ``rgb2act deploy-robotwin``. Each environment has its own connection and thus its own
history.
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
import rgb2act_xpolicylab  # noqa: E402 in this folder
from rgb2act_client import Client, ServerError  # noqa: E402


class Model:
    """XPolicyLab's policy interface; observations are decoded RGB arrays."""

    def __init__(self, model_cfg: dict[str, Any]) -> None:
        self.address = str(model_cfg.get("server") or os.environ.get("RGB2ACT_SERVER") or "")
        if not self.address:
            raise ServerError(
                "there is no policy server; start one with rgb2act serve RUN and set server in"
                " deploy.yml, or RGB2ACT_SERVER"
            )
        if model_cfg.get("action_type") not in (None, "joint", "qpos"):
            raise ServerError(
                f"action_type {model_cfg['action_type']!r}: the policy outputs joints; use 'joint'"
            )
        file = model_cfg.get("token_file")
        self.token = Path(file).read_text(encoding="utf-8").strip() if file else None
        self.seed = 100_000 * (1 + int(model_cfg.get("seed") or 0))
        self.jpeg = rgb2act_images.checked(model_cfg.get("jpeg"))
        self.task = model_cfg.get("task_name")
        self.prepared: int | None = None
        self.clients = {
            0: Client(self.address, self.token)
        }  # connected now, so that a missing server is an error at start
        self.newest: list[int] = []
        if self.task or len(self.clients[0].tasks) < 2:  # else prepare_case has the task
            self._reset_client(self.clients[0])

    def prepare_case(self, case_meta: dict[str, Any]) -> None:
        """Store seed and task of the next episode, if the message has them."""
        self.task = case_meta.get("task_name") or self.task
        seed = case_meta.get("seed")
        self.prepared = seed if isinstance(seed, int) else None

    def reset(self) -> None:
        """Start an episode in every environment."""
        self.seed = self.seed + 1 if self.prepared is None else self.prepared
        self.prepared = None
        for client in self.clients.values():
            self._reset_client(client)

    def update_obs(self, obs: dict[str, Any]) -> None:
        """Add the observation of one environment."""
        self.update_obs_batch([obs])

    def update_obs_batch(self, obs_list: list[dict[str, Any]]) -> None:
        """Add the observations of several environments."""
        self.newest = [rgb2act_xpolicylab.environment(obs) for obs in obs_list]
        for number, obs in zip(self.newest, obs_list):  # noqa: B905 Python 3.10
            client = self._client(number)
            images = np.stack(rgb2act_xpolicylab.images(obs, client.cameras))
            client.observe(
                rgb2act_images.as_recorded(images, self.jpeg), rgb2act_xpolicylab.joints(obs)
            )

    def get_action(self) -> list[dict[str, Any]]:
        """Return the next actions of the environment that was observed last."""
        if not self.newest:
            raise ServerError("get_action: there is no observation; send one first")
        return self.get_action_batch(self.newest[-1:])[0]

    def get_action_batch(self, env_idx_list: list[int] | None = None) -> list[list[dict[str, Any]]]:
        """Return the next actions of several environments, by default those observed last."""
        numbers = self.newest if env_idx_list is None else env_idx_list
        clients = [self._client(int(number)) for number in numbers]
        for client in clients:
            client.ask()
        return [rgb2act_xpolicylab.actions(client.answer()) for client in clients]

    def on_trial_end(self, result: dict[str, Any]) -> dict[str, Any]:
        """Report how many steps of the episode were not observed."""
        missing = sum(client.missing for client in self.clients.values())
        if missing:
            print(f"rgb2act: {missing} steps of the episode were not observed", flush=True)
        return {"missing_steps": missing}

    def _client(self, number: int) -> Client:
        if number not in self.clients:
            self.clients[number] = Client(self.address, self.token)
            self._reset_client(self.clients[number])
        return self.clients[number]

    def _reset_client(self, client: Client) -> None:
        client.reset(self.seed, self.task if len(client.tasks) > 1 else None)
