"""The episodes of a run: demonstrations to learn from, and action-free scenes besides.

Shapes: T = steps of an episode, V = cameras, H W = pixels, A = action dims
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from ..errors import UserError
from ..interfaces import EnvironmentInfo, Episode
from ..store.keys import key_of
from .episode_store import by_name, digest_of, read_episode, validate


@attrs.frozen(eq=False, kw_only=True)
class EpisodeRef:
    """Name one episode, and open it on demand."""

    name: str
    digest: str
    path: Path | None = None  # in the store
    episode: Episode | None = None  # recorded elsewhere and read where it lies
    task: int = 0  # its place among the run's tasks

    def open(self) -> Episode:
        """Return the episode; heavy arrays are read lazily."""
        if self.episode is not None:
            return self.episode
        assert self.path is not None
        return read_episode(self.path)


@attrs.frozen(eq=False, kw_only=True)
class Dataset:
    """Hold a run's demonstrations and scenes, those of its first task first."""

    demonstrations: tuple[EpisodeRef, ...]
    scenes: tuple[EpisodeRef, ...] = ()
    tasks: tuple[str, ...] = ()  # names, where there are several

    @property
    def sources(self) -> tuple[EpisodeRef, ...]:
        """Return demonstrations and scenes together."""
        return (*self.demonstrations, *self.scenes)

    def of(self, task: int) -> Dataset:
        """Return the part that is of one task, by its place."""
        parts = (self.demonstrations, self.scenes)
        demonstrations, scenes = (tuple(s for s in part if s.task == task) for part in parts)
        return Dataset(demonstrations=demonstrations, scenes=scenes)

    @property
    def key(self) -> str:
        """Return the digest of all content, and of which task it is where there are several."""
        parts = (self.demonstrations, self.scenes)
        digests = [[source.digest for source in part] for part in parts]
        if not self.tasks:
            return key_of(digests)
        return key_of([*digests, [[s.task for s in part] for part in parts], list(self.tasks)])


def missing(folder: Path, sources: Iterable[EpisodeRef]) -> list[EpisodeRef]:
    """Return the episodes that have no entry in the folder yet."""
    return [source for source in sources if not (folder / source.digest).exists()]


def stored(path: Path) -> EpisodeRef:
    """Return the source of an episode in the store."""
    return EpisodeRef(name=path.name, digest=read_episode(path).digest, path=path)


def recorded(episodes: Sequence[Episode], info: EnvironmentInfo) -> Dataset:
    """Return the data set of episodes that lie on disk; raise UserError when they don't fit."""
    by_name(episodes)
    for episode in episodes:
        check_episode(episode, info)
    return Dataset(
        demonstrations=tuple(
            EpisodeRef(name=e.name, digest=e.digest or digest_of(e), episode=e) for e in episodes
        )
    )


def joined(names: Sequence[str], parts: Sequence[Dataset]) -> Dataset:
    """Return the data set of several tasks, one part each; that of one task is its part.

    Raises UserError when an episode is of two tasks: it could be trained on and held out.
    """
    if len(parts) == 1:
        return parts[0]

    def sources(of: str) -> tuple[EpisodeRef, ...]:
        return tuple(
            attrs.evolve(source, name=f"{name}/{source.name}", task=i)
            for i, (name, part) in enumerate(zip(names, parts, strict=True))
            for source in getattr(part, of)
        )

    data = Dataset(
        demonstrations=sources("demonstrations"), scenes=sources("scenes"), tasks=tuple(names)
    )
    seen: dict[str, str] = {}
    for source in data.sources:
        if source.digest in seen:
            raise UserError(
                f"episode {source.name}: is the same as {seen[source.digest]}; give each task"
                " episodes of its own"
            )
        seen[source.digest] = source.name
    return data


def check_episode(episode: Episode, info: EnvironmentInfo) -> None:
    """Raise UserError when an episode is not whole, or its cameras, image or widths differ.

    Clouds are counted, not read: that takes long, and the teacher's stage finds a bad one.
    """
    if episode.cameras != info.cameras:
        raise UserError(
            f"episode {episode.name}: cameras {episode.cameras!r}, the environment has"
            f" {info.cameras!r}; name the same cameras in [environment]"
        )
    if tuple(episode.rgb.shape[2:4]) != info.image:
        raise UserError(
            f"episode {episode.name}: images are {tuple(episode.rgb.shape[2:4])!r}, the environment"
            f" shows {info.image!r}; record it with this environment"
        )
    width = len(info.action_names)
    for what, array in (("actions", episode.actions), ("joints", episode.joints)):
        if array is None or array.shape[1] != width:
            seen = "none" if array is None else f"width {array.shape[1]}"
            raise UserError(
                f"episode {episode.name}: {what}: expected width {width}, got {seen};"
                " record it with this environment"
            )
    validate(attrs.evolve(episode, clouds=None))
    if episode.clouds is not None and len(episode.clouds) != episode.rgb.shape[0]:
        raise UserError(
            f"episode {episode.name}: has {len(episode.clouds)} clouds for"
            f" {episode.rgb.shape[0]} frames; each needs its own"
        )
