"""``--env.type=rgb2act``: the environment of a run or of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

GYM_ID = "rgb2act/Environment-v0"


@EnvConfig.register_subclass("rgb2act")
@dataclass
class Rgb2ActEnv(EnvConfig):
    """An environment of rgb2act in which policies act."""

    run: str | None = None
    """A run: its name, name@number or folder."""
    root: str | None = None
    """Folder of all runs, by default ``RGB2ACT_ROOT`` or ``runs``."""
    spec: str | None = None
    """A run spec (TOML file)."""
    task_number: int = 0
    """Number of the task, if the spec has several."""

    def __post_init__(self) -> None:
        """Set the features, rate and task of the environment."""
        info = build(self.run, self.root, self.spec, self.task_number).info
        joints = (len(info.action_names),)
        self.task, self.fps = info.task, round(info.control_hz)
        self.episode_length = info.max_steps
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=joints),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=joints),
        }
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        for camera in info.cameras:
            self.features[f"pixels/{camera}"] = PolicyFeature(
                type=FeatureType.VISUAL, shape=(*info.image, 3)
            )
            self.features_map[f"pixels/{camera}"] = f"observation.images.{camera}"

    @property
    def package_name(self) -> str:
        """Return the package that registers the environment."""
        return "lerobot_env_rgb2act"

    @property
    def gym_id(self) -> str:
        """Return the id of the environment, which is the same for all tasks."""
        return GYM_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Return the arguments of the environment."""
        return {
            "run": self.run,
            "root": self.root,
            "spec": self.spec,
            "task_number": self.task_number,
            "max_episode_steps": self.episode_length,
        }


def build(run: str | None, root: str | None, spec: str | None, task_number: int) -> Any:
    """Return the environment of a run or spec.

    Raises ValueError unless exactly one of them is given, if there is no such task, or if the
    environment has recorded episodes only.
    """
    from rgb2act_core import open_run, read_spec

    if bool(run) == bool(spec):
        raise ValueError("give one of --env.run=NAME and --env.spec=FILE")
    read = open_run(run, root).spec if run else read_spec(Path(str(spec)))
    if not 0 <= task_number < len(read.environments):
        raise ValueError(f"--env.task_number={task_number}: the spec has {len(read.environments)}")
    environment = read.environments[task_number].build()
    if not environment.info.acts:
        raise ValueError("the environment has recorded episodes only; choose one that acts")
    return environment
