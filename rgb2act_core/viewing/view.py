"""Show an episode, or rollouts of a run, in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from ..pipeline.film import find_episodes
from ..pipeline.run_record import read_run
from . import policy, sources
from .episode import log_episode
from .recording import open_recording
from .rollout import log_rollout


@attrs.frozen(kw_only=True)
class Request:
    """What to show of a run."""

    seeds: Sequence[int] | None = None  # None: the first failure
    task: str | None = None  # None: all tasks
    offline: bool = False  # whether to plan on a held-out demonstration too
    episode: str | None = None  # its name; None: the first


def show_episode(path: Path, name: str | None, output: Path | None) -> list[str]:
    """Record an episode and return its name, in a list.

    Raises UserError if there is no such episode, or if no recording can be made.
    """
    found = sources.find_episode(path, name)
    with open_recording(found.episode.name, output, found.rate) as recording:
        log_episode(recording, found.episode, names=found.action_names)
    return [found.episode.name]


def show_run(folder: Path, request: Request, output: Path | None) -> list[str]:
    """Record evaluated episodes of a run and, on request, plans on a held-out demonstration.

    Returns what is shown. Raises UserError if an episode was not evaluated or cannot be repeated.
    """
    recorded = read_run(folder)
    seeds = request.seeds or [sources.seed_to_view(recorded)]
    episodes = find_episodes(recorded, seeds, request.task)
    ref = sources.held_out_demonstration(recorded, request.episode) if request.offline else None
    viewed = None if recorded.run.spec.act.replay else policy.open_policy(recorded)
    shown: list[str] = []
    rate = episodes[0].evaluation.environment.build().info.control_hz
    with open_recording(recorded.run.spec.name, output, rate) as recording:
        for episode in episodes:
            rollout = policy.online(viewed, episode)
            task = f"{episode.evaluation.name}_" if episode.evaluation.name else ""
            log_rollout(recording, rollout, f"online/{task}seed_{episode.seed}")
            shown.append(rollout.title)
        if ref is not None and viewed is not None:
            plans = policy.offline(viewed, ref.open(), ref.task)
            log_rollout(recording, plans, f"offline/{ref.name}")
            shown.append(plans.title)
    return shown
