"""Let XPolicyLab's policy server ask a served rgb2act policy what to do.

Written by ``rgb2act deploy-robotwin``; it speaks to ``rgb2act serve``. Each environment has a
connection, hence a history, of its own.
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

import rgb2act_xpolicylab as words  # noqa: E402 the files beside this one
from rgb2act_client import Client, ServerError  # noqa: E402


class Model:
    """Meet XPolicyLab's interface; observations are decoded RGB arrays."""

    def __init__(self, model_cfg: dict[str, Any]) -> None:
        self.address = str(model_cfg.get("server") or os.environ.get("RGB2ACT_SERVER") or "")
        if not self.address:
            raise ServerError(
                "no policy server is named; start one with rgb2act serve RUN and set server in"
                " deploy.yml, or RGB2ACT_SERVER"
            )
        if model_cfg.get("action_type") not in (None, "joint", "qpos"):
            raise ServerError(
                f"action_type {model_cfg['action_type']!r}: the policy moves joints; say 'joint'"
            )
        file = model_cfg.get("token_file")
        self.token = Path(file).read_text(encoding="utf-8").strip() if file else None
        self.seed = 100_000 * (1 + int(model_cfg.get("seed") or 0))
        self.task = model_cfg.get("task_name")
        self.prepared: int | None = None
        self.clients = {0: Client(self.address, self.token)}  # one that is not there is told now
        self.newest: list[int] = []
        if self.task or len(self.clients[0].tasks) < 2:  # else prepare_case tells the task
            self._begin(self.clients[0])

    def prepare_case(self, case_meta: dict[str, Any]) -> None:
        """Take seed and task of the episode that begins next, if they are told."""
        self.task = case_meta.get("task_name") or self.task
        seed = case_meta.get("seed")
        self.prepared = seed if isinstance(seed, int) else None

    def reset(self) -> None:
        """Begin an episode in every environment."""
        self.seed = self.seed + 1 if self.prepared is None else self.prepared
        self.prepared = None
        for client in self.clients.values():
            self._begin(client)

    def update_obs(self, obs: dict[str, Any]) -> None:
        """Remember what one environment shows."""
        self.update_obs_batch([obs])

    def update_obs_batch(self, obs_list: list[dict[str, Any]]) -> None:
        """Remember what some environments show."""
        self.newest = [words.environment(obs) for obs in obs_list]
        for number, obs in zip(self.newest, obs_list):  # noqa: B905 Python 3.10
            client = self._client(number)
            client.observe(np.stack(words.images(obs, client.cameras)), words.joints(obs))

    def get_action(self) -> list[dict[str, Any]]:
        """Return the next actions of the environment that was seen last."""
        if not self.newest:
            raise ServerError("get_action: nothing was seen; send an observation first")
        return self.get_action_batch(self.newest[-1:])[0]

    def get_action_batch(self, env_idx_list: list[int] | None = None) -> list[list[dict[str, Any]]]:
        """Return the next actions of some environments, by default those that were seen last."""
        numbers = self.newest if env_idx_list is None else env_idx_list
        clients = [self._client(int(number)) for number in numbers]
        for client in clients:
            client.ask()
        return [words.actions(client.answer()) for client in clients]

    def on_trial_end(self, result: dict[str, Any]) -> dict[str, Any]:
        """Say how many steps of the episode the policy did not see."""
        missing = sum(client.missing for client in self.clients.values())
        if missing:
            print(f"rgb2act: {missing} steps of the episode were not observed", flush=True)
        return {"missing_steps": missing}

    def _client(self, number: int) -> Client:
        if number not in self.clients:
            self.clients[number] = Client(self.address, self.token)
            self._begin(self.clients[number])
        return self.clients[number]

    def _begin(self, client: Client) -> None:
        client.reset(self.seed, self.task if len(client.tasks) > 1 else None)
