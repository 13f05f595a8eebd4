"""``--policy.type=rgb2act``: where the policy is, and the seed of its plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs import NormalizationMode
from lerobot.configs.policies import PreTrainedConfig


def _identity() -> dict[str, NormalizationMode]:
    """Return no normalisation: rgb2act normalises inside the policy."""
    return dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)


@PreTrainedConfig.register_subclass("rgb2act")
@dataclass
class Rgb2ActConfig(PreTrainedConfig):
    """A policy of rgb2act: in a pushed folder or repository, in a run, or on a server."""

    run: str | None = None
    """A run: its name, name@number or folder."""
    root: str | None = None
    """Folder of all runs, by default ``RGB2ACT_ROOT`` or ``runs``."""
    server: str | None = None
    """Address of ``rgb2act serve``, such as ``127.0.0.1:8790``."""
    seed: int = 0
    """Seed of the first episode's plans; each further episode has the next one."""
    normalization_mapping: dict[str, NormalizationMode] = field(default_factory=_identity)
    push_to_hub: bool = False

    @property
    def observation_delta_indices(self) -> None:
        """Return None: the policy keeps its own history."""

    @property
    def action_delta_indices(self) -> None:
        """Return None: LeRobot does not train the policy."""

    @property
    def reward_delta_indices(self) -> None:
        """Return None: the policy sees no rewards."""

    def get_optimizer_preset(self) -> Any:
        """Raise NotImplementedError: LeRobot does not train the policy."""
        raise NotImplementedError("policies of rgb2act are trained with `rgb2act run SPEC`")

    def get_scheduler_preset(self) -> None:
        """Return None: LeRobot does not train the policy."""

    def validate_features(self) -> None:
        """Accept all features; the policy names what it misses in its first observation."""
