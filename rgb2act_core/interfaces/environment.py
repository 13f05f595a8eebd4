"""What an environment implements.

Shapes: H W = pixels, V = cameras, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import attrs

from .episode import Episode


@attrs.frozen(kw_only=True)
class EnvironmentInfo:
    """The task, observations and actions of an environment."""

    task: str
    cameras: tuple[str, ...]  # V names
    image: tuple[int, int]  # H, W
    action_names: tuple[str, ...]  # A names; 'left_'/'right_' first, grippers end in '_gripper';
    # joints of a robot without sides can have any name, and its gripper is 'gripper'
    control_hz: float
    max_steps: int
    demonstrates: bool  # an expert can record new demonstrations and scenes
    state_names: tuple[str, ...] = ()  # keys of Episode.state and info["state"]
    hand_states: tuple[str, ...] = ()  # those that are positions of hands: (3,) or (n, 3), metres
    acts: bool = True  # ``make`` works; False: there are recorded episodes only


class Environment(Protocol):
    """Give demonstrations to learn from and episodes to act in."""

    info: EnvironmentInfo

    def recorded(self) -> Sequence[Episode]:
        """Return the episodes that lie on disk, read lazily; empty if the expert records them."""

    def demonstrate(self, seed: int, noise: float) -> Episode | None:
        """Record the expert on one seed; None when it failed. Same seed, same bytes."""

    def scene(self, seed: int) -> Episode:
        """Record one random frame without joints or actions. Same seed, same bytes."""

    def make(self) -> Any:
        """Return a gymnasium.Env.

        Observations are ``{"rgb": uint8 (V, H, W, 3), "joints": float32 (A,)}``, actions float32
        (A,). After each step ``info["success"]`` is a bool and ``info["state"]`` maps state names
        to float32 arrays. ``info["hands"]`` (X, 3), metres, are positions of hands that no state
        contains. Components that declare it: with ``Capability.IMAGE_SKIPPING``,
        ``env.unwrapped.observe`` is set to False before steps whose images are not needed; with
        ``Capability.SIMULATOR_FACTS``, ``env.unwrapped.facts`` (plain data about the simulator) is
        stored with the results, as is ``info["instruction"]`` of ``reset``.
        """


@attrs.frozen(eq=False, kw_only=True)
class SeedVerdict:
    """Say whether a seed's scene is one to act in."""

    accepted: bool
    reason: str = ""  # why not
    told: Mapping[str, Any] = attrs.field(factory=dict)  # plain data of the scene, for ``reset``


@runtime_checkable
class SeedScreening(Protocol):
    """Tell which seeds are to be acted in: what an ``Environment`` that acts may offer besides.

    Seeds are tried in a row until enough are accepted; verdicts are kept in the store. What was
    told of a seed is given to ``reset`` as ``options["told"]``.
    """

    def first_seed(self, seed: int) -> int:
        """Return the first seed that is tried in a run of that seed."""

    def screen(self, seed: int) -> SeedVerdict:
        """Return whether to act in a seed's scene. Same seed, same verdict."""


@runtime_checkable
class ResultsPublisher(Protocol):
    """Write results as an environment's own evaluation does: what an ``Environment`` may offer."""

    def publish(self, folder: Path, name: str, results: Mapping[str, Any]) -> None:
        """Write them below the folder of the trials; ``name`` is the run's.

        Videos are in the folder already, where each episode's ``video`` says.
        """
