"""Find what ``rgb2act view`` shows: episodes of a path, or rollouts and demonstrations of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from ..data.dataset import EpisodeRef
from ..data.episode_store import read_episode
from ..data.episode_summary import stored_episodes
from ..data.splits import split_episodes, task_indices
from ..errors import UserError, did_you_mean
from ..evaluation.filming import episodes_to_film
from ..interfaces import Episode
from ..pipeline.run_record import RecordedRun, open_dataset
from ..plugins import registry
from ..plugins.components import Kind
from ..store.files import read_json
from ..store.stage_id import Stage, StageId

LISTED = 20


@attrs.frozen(eq=False, kw_only=True)
class FoundEpisode:
    """An episode, and the names and rate of its actions if they are known."""

    episode: Episode
    action_names: Sequence[str] = ()
    rate: float | None = None  # steps per second


def find_episode(path: Path, name: str | None = None) -> FoundEpisode:
    """Return an episode: one of the store, or one of a data set, by default the first.

    Raises UserError if there is none, or none of that name.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give an episode, a data set or a run")
    stored = stored_episodes(path)
    if stored:
        return FoundEpisode(episode=read_episode(_named(stored, name, path)))
    for kind, component in registry.components():
        if kind is Kind.ENVIRONMENT and component.inspect is not None:
            summary = component.inspect(path)
            if summary is None:
                continue
            for environment in summary.environments():
                episodes = environment.recorded()
                names = [episode.name for episode in episodes]
                if episodes and (name is None or name in names):
                    episode = episodes[names.index(name) if name else 0]
                    info = environment.info
                    return FoundEpisode(
                        episode=episode, action_names=info.action_names, rate=info.control_hz
                    )
            raise UserError(_unknown(name, [e.name for e in summary.episodes], path))
    raise UserError(
        f"{path}: no episode in it; give an episode of the store or a recorded data set"
    )


def _named(paths: Sequence[Path], name: str | None, source: Path) -> Path:
    if name is None:
        return paths[0]
    found = [path for path in paths if path.name == name]
    if not found:
        raise UserError(_unknown(name, [path.name for path in paths], source))
    return found[0]


def _unknown(name: str | None, names: Iterable[str], source: Path) -> str:
    known = list(names)
    if name is None:
        return f"{source}: has no intact episode; rgb2act inspect lists its problems"
    listed = f"; episodes: {', '.join(known[:LISTED])}{' ...' if len(known) > LISTED else ''}"
    return f"--episode {name!r}: not in {source}{did_you_mean(name, known) or listed}"


def seed_to_view(recorded: RecordedRun) -> int:
    """Return the seed of the first failed episode of a run, or of its first one."""
    path = recorded.stage_folder(StageId(Stage.ACT)) / "stage.json"
    return episodes_to_film(read_json(path)["results"]["episodes"], 1)[0]


def held_out_demonstration(recorded: RecordedRun, name: str | None) -> EpisodeRef:
    """Return a demonstration that the policy was not trained on: the first, or the one named.

    Raises UserError if the run held none out, or if the one named was trained on.
    """
    _, data = open_dataset(recorded)
    spec, demonstrations = recorded.run.spec, data.demonstrations
    split = split_episodes(task_indices(demonstrations), spec.policy.holdout, spec.seed)
    held_out: list[EpisodeRef] = [demonstrations[int(i)] for i in split.held_out]
    if not held_out:
        raise UserError("--offline: the run held no demonstration out; set policy.holdout above 0")
    if name is None:
        return held_out[0]
    for ref in held_out:
        if ref.name == name:
            return ref
    raise UserError(
        f"--episode {name!r}: not held out; held-out demonstrations are"
        f" {', '.join(ref.name for ref in held_out[:LISTED])}"
    )
