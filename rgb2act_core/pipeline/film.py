"""Film episodes of a finished run, from their recorded actions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from ..errors import UserError, did_you_mean
from ..evaluation.filming import film_all, refuse_problems
from ..evaluation.rollout_files import read_rollout, rollout_path, video_path
from ..evaluation.task import EvaluationTask
from ..stages.act import evaluation_tasks
from ..store.disk_errors import guard
from ..store.evaluations import read_evaluations
from ..store.files import read_json
from ..store.keys import canonical
from ..store.stage_id import Stage, StageId
from .run_record import RecordedRun, read_run, recorded_tasks

NEXT = 4  # failures that are filmed if no seeds are named


@attrs.frozen(kw_only=True)
class RecordedEpisode:
    """An evaluated episode: its seed, how its task is evaluated, and the evaluation's folder."""

    seed: int
    evaluation: EvaluationTask
    folder: Path

    @property
    def rollout(self) -> Path:
        """Return the file with the episode's actions."""
        return rollout_path(self.folder, self.seed, self.evaluation.name)

    @property
    def video(self) -> Path:
        """Return the file of the episode's video, which may not exist."""
        return video_path(self.folder, self.seed, self.evaluation.name)


def film_episodes(
    folder: Path, seeds: Sequence[int] | None = None, task: str | None = None
) -> list[Path]:
    """Film the episodes of some seeds, of one or all tasks, and return their videos.

    Without ``seeds``, the next failures without a video are filmed. Videos that exist are kept.
    Raises UserError if an episode was not evaluated, or if executing its actions again gives
    another episode.
    """
    recorded = read_run(folder)
    episodes = find_episodes(recorded, _unfilmed(recorded) if seeds is None else seeds, task)
    for group in _groups(episode for episode in episodes if not episode.video.exists()):
        how, path = group[0].evaluation, group[0].folder
        slots = min(len(group), how.act.parallel_episodes)
        rollouts = [read_rollout(episode.rollout) for episode in group]
        with guard(path), how.simulators(slots, {0}) as simulators:
            (path / "videos").mkdir(exist_ok=True)
            refuse_problems(film_all(simulators, path, rollouts, slots))
    return [episode.video for episode in episodes]


def _unfilmed(recorded: RecordedRun) -> list[int]:
    """Return the seeds of the first failed episodes without a video."""
    found: list[int] = []
    for folder in evaluation_folders(recorded):
        for episode in read_json(folder / "stage.json")["results"]["episodes"]:
            video = video_path(folder, episode["seed"], episode.get("task"))
            if not episode["success"] and not video.exists():
                found.append(episode["seed"])
    if not found:
        raise UserError(
            f"{recorded.folder}: every failed episode has a video; name other seeds with --seeds"
        )
    return list(dict.fromkeys(found))[:NEXT]


def _groups(episodes: Iterable[RecordedEpisode]) -> list[list[RecordedEpisode]]:
    """Return the episodes by task and evaluation."""
    groups: dict[tuple[str | None, Path], list[RecordedEpisode]] = {}
    for episode in episodes:
        groups.setdefault((episode.evaluation.name, episode.folder), []).append(episode)
    return list(groups.values())


def find_episodes(
    recorded: RecordedRun, seeds: Sequence[int], task: str | None = None
) -> list[RecordedEpisode]:
    """Return the recorded episodes of some seeds.

    The run's own evaluation comes before further ones. Raises UserError if there is none.
    """
    tasks = recorded_tasks(recorded)
    if task is not None and task not in tasks.names:
        hint = did_you_mean(task, tasks.names) or f"; tasks: {', '.join(tasks.names)}"
        raise UserError(f"--task {task!r}: the run has no such task{hint}")
    evaluations = [
        evaluation
        for evaluation, name in zip(
            evaluation_tasks(tasks.run, tasks.names), tasks.names, strict=True
        )
        if task in (None, name)
    ]
    folders = list(evaluation_folders(recorded))
    found: list[RecordedEpisode] = []
    for seed in seeds:
        recordings = [
            RecordedEpisode(seed=seed, evaluation=evaluation, folder=folder)
            for evaluation in evaluations
            for folder in folders
            if rollout_path(folder, seed, evaluation.name).exists()
        ]
        if not recordings:
            raise UserError(_not_recorded(recorded, seed, folders))
        first = {episode.evaluation.name: episode for episode in reversed(recordings)}
        found += first.values()
    return found


def evaluation_folders(recorded: RecordedRun) -> Iterator[Path]:
    """Yield the folders of the run's evaluation and of further ones in the same environment."""
    if (own := StageId(Stage.ACT)) in recorded.stages:
        yield recorded.stage_folder(own)
    environment = canonical(recorded.run.spec.environment)
    for path in read_evaluations(recorded.folder):
        folder = recorded.run.root / path
        with contextlib.suppress(UserError):
            inputs = read_json(folder / "stage.json").get("inputs", {})
            if inputs.get("environment") == environment:
                yield folder


def _not_recorded(recorded: RecordedRun, seed: int, folders: Sequence[Path]) -> str:
    run = recorded.folder
    if not folders:
        return f"{run}: has no stage 'act' yet; finish the run first"
    known = sorted(
        {path.stem.rpartition("_")[2] for f in folders for path in f.glob("rollouts/**/*.npz")}
    )
    if not known:
        return (
            f"{folders[0]}: an older version evaluated this run and stored no actions; delete the"
            " folder and run the spec again"
        )
    seeds = ", ".join(str(int(text)) for text in known[:20])
    return (
        f"--seeds: {run} has no episode of seed {seed}; evaluated seeds are {seeds}"
        f"{' ...' if len(known) > 20 else ''}; evaluate it first: rgb2act act {run} --seeds"
        f" {seed}:{seed + 1}"
    )
