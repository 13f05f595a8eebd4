"""What stages and plugins hand one another, and the Protocols that components' builds meet.

Shapes: T = steps of an episode, B = batch, K = context frames, V = cameras, H W = pixels,
N = patches (row by row over the grid), C = channels, P = points, A = action dims, M = backbones,
D = embedding width, S = horizon (steps of a plan), O = n_obs_steps
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


@attrs.frozen(eq=False, kw_only=True)
class PointCloud:
    """Hold one coloured point cloud."""

    xyz: NDArray[np.float32]  # (P, 3), metres, world frame
    rgb: NDArray[np.uint8]  # (P, 3), RGB order


class Frames(Protocol):
    """Read frames by index or slice as uint8 numpy arrays (..., V, H, W, 3), RGB order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the whole shape, (T, V, H, W, 3)."""

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]: ...


@attrs.frozen(eq=False, kw_only=True)
class Episode:
    """Hold what was seen and done at each of T steps; heavy arrays may be read lazily.

    ``actions[t]`` is the command given after frame t was seen. Action-free scenes have neither
    joints nor actions. ``state`` is ground truth for probes and for ``condition = "oracle"``.
    """

    name: str  # unique within a data set
    task: str
    instruction: str
    cameras: tuple[str, ...]  # V names
    rgb: Frames  # uint8 (T, V, H, W, 3)
    joints: NDArray[np.float32] | None  # (T, A), radians, grippers 0 closed .. 1 open
    actions: NDArray[np.float32] | None  # (T, A), same units
    clouds: Sequence[PointCloud] | None  # T clouds
    state: Mapping[str, NDArray[np.float32]] = attrs.field(factory=dict)  # each (T, ...)
    digest: str = ""  # of all the content above; empty until stored
    seed: int | None = None  # that the environment began it from, where it is known; for replay


@attrs.frozen(kw_only=True)
class BackboneInfo:
    """Say what a built backbone yields."""

    dim: int  # C
    context: int = 1  # K, frames a feature looks back on, itself included
    description: str = ""  # layer, preprocessing: kept with the features


class Backbone(Protocol):
    """Turn RGB frames into patch tokens; frozen."""

    info: BackboneInfo

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the token grid for images of that size."""

    def encode(self, rgb_BKVHW3: Tensor) -> Tensor:
        """Return tokens (B, V, N, C) float32 of the newest of K uint8 frames, oldest first."""

    def to(self, device: torch.device) -> Backbone:
        """Move the weights."""


@runtime_checkable
class WindowedBackbone(Protocol):
    """Encode in two steps: what a ``Backbone`` with context > 1 may offer besides ``encode``.

    What a frame is by itself is then computed once, not in every window that the frame is in.
    Both steps together give what ``encode`` gives, but for the order of sums.
    """

    def encode_frames(self, rgb_BVHW3: Tensor) -> Mapping[str, Tensor]:
        """Return what uint8 frames give to every window they are in, each entry (B, V, ...)."""

    def encode_windows(self, parts: Mapping[str, Tensor], image: tuple[int, int]) -> Tensor:
        """Return tokens as ``encode`` does, from entries (B, K, V, ...) of K frames, oldest first.

        ``image`` is height and width of the frames.
        """


@attrs.frozen(kw_only=True)
class TeacherInfo:
    """Say what a built teacher yields."""

    dim: int  # D
    description: str = ""
    groups: tuple[int, int] | None = None  # number and width of a cloud's group tokens, if any


class Teacher(Protocol):
    """Turn point clouds into embeddings; frozen."""

    info: TeacherInfo

    def embed(self, clouds: Sequence[PointCloud]) -> Tensor:
        """Return embeddings (B, D) float32, one a cloud, not normalised."""

    def to(self, device: torch.device) -> Teacher:
        """Move the weights."""


@runtime_checkable
class GroupTokenTeacher(Protocol):
    """Give a token for each group of a cloud's points besides: what a ``Teacher`` may offer.

    Local losses look at them. Its component has ``groups=True``, as a spec is checked before
    anything is built, and its info says how many there are and how wide.
    """

    def embed_groups(self, clouds: Sequence[PointCloud]) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) as ``embed`` does, and float32 tokens (B, G, C)."""


@attrs.frozen(eq=False, kw_only=True)
class FusedTokens:
    """Hold fused tokens, how much each backbone counted, and a term to add to the loss."""

    tokens: Tensor  # (B, N, D)
    weights: Tensor  # (M,), mean share of each backbone, sums to 1; the entropy loss learns from it
    loss: Tensor  # scalar


class Fusion(Protocol):
    """Make the module that fuses M backbones' tokens."""

    def module(self, n_backbones: int, dim: int) -> torch.nn.Module:
        """Return a module that maps tokens (B, N, M, D) to ``FusedTokens``."""


@attrs.frozen(kw_only=True)
class HeadShape:
    """Say what a policy head is built for."""

    obs_dim: int  # D
    n_obs_steps: int  # O
    action_dim: int  # A
    horizon: int  # S
    tokens: tuple[int, int] | None = None  # N and W, tokens of each observation step, if any


class PolicyHead(Protocol):
    """Make the module that learns and samples action trajectories."""

    def check(self, shape: HeadShape) -> str | None:
        """Return what makes the shape impossible for this head and what to do, or None."""

    def module(self, shape: HeadShape) -> torch.nn.Module:
        """Return a module that meets ``PolicyModule``."""


class PolicyModule(Protocol):
    """Learn and sample in normalised space; ``plan[0]`` is the action for the newest frame.

    Tokens are given where the shape has them, and nowhere else: a head whose ``check`` refuses
    them may do without the last argument.
    """

    def loss(
        self,
        obs_BOD: Tensor,
        actions_BSA: Tensor,
        mask_BS: Tensor,
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar training loss; steps where the bool mask is False do not count."""

    def plan(
        self,
        obs_BOD: Tensor,
        generators: Sequence[torch.Generator],
        tokens_BONC: Tensor | None = None,
    ) -> Tensor:
        """Return plans (B, S, A); row i draws its noise from ``generators[i]`` alone."""


@attrs.frozen(kw_only=True)
class EnvironmentInfo:
    """Say what an environment shows and takes."""

    task: str
    cameras: tuple[str, ...]  # V names
    image: tuple[int, int]  # H, W
    action_names: tuple[str, ...]  # A names; 'left_'/'right_' first, grippers end in '_gripper';
    # a robot without sides names its joints as it likes, and 'gripper'
    control_hz: float
    max_steps: int
    demonstrates: bool  # an expert can record new demonstrations and scenes
    state_names: tuple[str, ...] = ()  # keys of Episode.state and info["state"]
    hand_states: tuple[str, ...] = ()  # those of them that are hands' places: (3,) or (n, 3) metres
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

        Observations: ``{"rgb": uint8 (V, H, W, 3), "joints": float32 (A,)}``; actions float32
        (A,); ``info["success"]`` is a bool after each step and ``info["state"]`` maps state names
        to float32 arrays. ``env.unwrapped.observe``, when it exists, may be set to False to say
        that the next steps' images will not be looked at. ``env.unwrapped.facts``, when it exists,
        is plain data about the simulator, kept with the results, as is ``info["instruction"]`` of
        ``reset``. ``info["hands"]`` (X, 3), metres, tells where hands are if no state does.
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
