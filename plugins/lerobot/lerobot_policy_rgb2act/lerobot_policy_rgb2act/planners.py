"""Planners of one policy, one for each environment of a batch: in this process or on a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .configuration_rgb2act import Rgb2ActConfig

FILES = ("policy.json", "model.safetensors", "rgb2act.json")  # that are read of a repository


class EpisodePlanner(Protocol):
    """Plans for one environment; ``rgb2act_client.Client`` and a local planner are both one."""

    cameras: tuple[str, ...]

    def reset(self, seed: int, task: str | None = None) -> None:
        """Start an episode."""

    def observe(self, rgb: NDArray[np.uint8], joints: NDArray[np.float32]) -> None:
        """Add the observation of one step: (V, H, W, 3) RGB and (A,)."""

    def act(self) -> NDArray[np.float32]:
        """Return the actions (n, A) of the next steps."""


class LocalPlanner:
    """A planner of ``rgb2act_core`` with the attributes of a client."""

    def __init__(self, planner: Any) -> None:
        self.cameras: tuple[str, ...] = planner.config.cameras
        self.tasks: tuple[str, ...] = planner.config.tasks
        self.reset, self.observe, self.act = planner.reset, planner.observe, planner.act


def planner_factory(config: Rgb2ActConfig, folder: str | None) -> Callable[[], EpisodePlanner]:
    """Return a function that makes a planner for one more environment.

    ``folder`` is a pushed policy: its folder or repository. Raises ValueError unless exactly one
    of a folder, ``run`` and ``server`` is given.
    """
    given = [value for value in (folder, config.run, config.server) if value]
    if len(given) != 1:
        raise ValueError(
            "give one of --policy.path=FOLDER_OR_REPO, --policy.run=NAME and"
            " --policy.server=ADDRESS"
        )
    if config.server:
        from rgb2act_client import Client

        address = config.server
        return lambda: Client(address)
    planner = _load(config, folder)
    return lambda: LocalPlanner(planner.another())


def _load(config: Rgb2ActConfig, folder: str | None) -> Any:
    from rgb2act_core import load_planner, open_run

    device = config.device or "auto"
    if config.run:
        return open_run(config.run, config.root).planner(device)
    assert folder is not None
    path = Path(folder) if Path(folder).is_dir() else _download(folder, config.pretrained_revision)
    return load_planner(path, device=device)


def _download(repo: str, revision: str | None) -> Path:
    """Return the folder of a repository's policy in the hub's cache, all files at one commit."""
    from huggingface_hub import hf_hub_download

    first, *others = FILES
    path = Path(hf_hub_download(repo, first, revision=revision))
    for name in others:
        hf_hub_download(repo, name, revision=path.parent.name)
    return path.parent
