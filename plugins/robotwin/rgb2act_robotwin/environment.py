"""The environment component: what lies on disk, and what is known of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgb2act_core.errors import EnvironmentLost, UserError, near
from rgb2act_core.interfaces import EnvironmentInfo, Episode, SeedVerdict

from .config import IMAGES, Robotwin
from .recorded import episode_index, episode_reader
from .recorded.episode_index import Place
from .recorded.images import scan
from .recorded.joint_states import ACTION_NAMES
from .recorded.layouts import SAVE_FREQUENCY, STEP_HZ, layout_of
from .tasks import step_limit

if TYPE_CHECKING:
    from .simulator.simulator import Recorder, Simulator

FIRST_SEED = 100_000  # of RoboTwin's evaluation, once more for each seed of a run


class RobotwinEnvironment:
    """Give the recorded episodes of one task; meets ``interfaces.Environment``."""

    def __init__(self, config: Robotwin) -> None:
        self.config = config
        self._screener: Simulator | None = None

    @cached_property
    def info(self) -> EnvironmentInfo:
        """Return task, cameras and actions; image size and pace are the first sound episode's."""
        config = self.config
        image, hertz = self._first_sound()
        return EnvironmentInfo(
            task=config.task,
            cameras=config.views,
            image=image,
            action_names=ACTION_NAMES,
            control_hz=hertz,
            max_steps=step_limit(config.task),
            demonstrates=config.python is not None and config.data is None,
            acts=config.python is not None,
            state_names=(episode_reader.MARK,) if config.duplicates == "mark" else (),
        )

    def _first_sound(self) -> tuple[tuple[int, int], float]:
        """Return image size and frames a second of the first episode that can be read."""
        problems: list[str] = []
        for place in self._places:
            try:
                return self._look(place)
            except UserError as err:
                problems += err.args
        if problems:
            raise UserError(*problems)
        return IMAGES[self.config.camera], STEP_HZ / SAVE_FREQUENCY

    def _look(self, place: Place) -> tuple[tuple[int, int], float]:
        path, config = place.path, self.config
        layout = layout_of(path)
        hertz = episode_reader.frequency(path, layout)
        if config.frames is not None:
            shape = episode_reader.read(place, config).rgb.shape
            return (shape[2], shape[3]), hertz
        (_, (head,)) = scan(path, episode_reader.keys_of(path, layout, config.views)[0], 1)
        return (head.height, head.width), hertz

    @cached_property
    def _places(self) -> list[Place]:
        config = self.config
        if config.data is None:
            return []
        places = episode_index.choose(
            episode_index.find(config.data), config.task, config.embodiment
        )
        names = {place.name for place in places}
        if unknown := [name for name in config.skip if name not in names]:
            raise UserError(
                f"robotwin.skip: there is no episode {unknown[0]!r}{near(unknown[0], names)}"
                f"; {config.data} holds {len(names)}, such as {min(names)!r}"
            )
        kept = [place for place in places if place.name not in config.skip][: config.limit]
        if not kept:
            raise UserError(f"{config.data}: 0 episodes are left; shorten [environment] skip")
        return kept

    def recorded(self) -> Sequence[Episode]:
        """Return the episodes, images and clouds read lazily; UserError tells every damage."""
        return self._episodes

    @cached_property
    def _episodes(self) -> tuple[Episode, ...]:
        episodes: list[Episode] = []
        problems: list[str] = []
        for place in self._places:
            try:
                episodes.append(episode_reader.read(place, self.config))
            except UserError as err:
                problems += err.args
        if problems:
            raise UserError(*problems)
        return tuple(episodes)

    def demonstrate(self, seed: int, noise: float) -> Episode | None:
        """Record RoboTwin's scripted expert; None when the scene is unstable or the expert fails.

        Raises UserError with noise: the expert's moves are planned whole.
        """
        if noise:
            raise UserError("robotwin: the expert cannot be disturbed; set [collect] noise = 0")
        from .simulator import expert

        return self._recorder.ask(lambda s: expert.demonstrate(s, self.config, seed), seed)

    def scene(self, seed: int) -> Episode:
        """Record the first frame of a seed's scene, with its cloud.

        In place of one that does not come to rest there is that of a seed far away.
        """
        from .simulator import expert

        return self._recorder.ask(lambda s: expert.scene(s, self.config, seed), seed)

    def first_seed(self, seed: int) -> int:
        """Return the first seed of RoboTwin's protocol; demonstrations are recorded below it."""
        return FIRST_SEED * (1 + seed)

    def screen(self, seed: int) -> SeedVerdict:
        """Return whether a seed's scene comes to rest and the scripted expert succeeds in it."""
        if self._screener is None:
            from .simulator.simulator import Simulator

            self._screener = Simulator(self.config)
        try:
            expert = self._screener.screen(seed)
        except EnvironmentLost:
            self._screener = None
            raise
        return SeedVerdict(accepted=expert.accepted, reason=expert.reason, told=expert.told)

    def publish(self, folder: Path, name: str, results: Mapping[str, Any]) -> None:
        """Write ``_result.txt`` and videos where RoboTwin's own evaluation writes them."""
        from .evaluation import result_files

        result_files.publish(self.config, folder, name, results)

    @cached_property
    def _recorder(self) -> Recorder:
        from .simulator.simulator import Recorder

        return Recorder(self.config)

    def make(self) -> Any:
        """Return a gymnasium.Env that acts in RoboTwin; the simulator is started at once.

        Raises UserError without an interpreter to run it in.
        """
        if self.config.python is None:
            raise UserError(
                "robotwin: only recorded episodes are given; to act, name the interpreter that"
                " RoboTwin's simulator is installed in with [environment] python"
            )
        from .simulator.gym_env import RobotwinEnv

        return RobotwinEnv(self.config)
