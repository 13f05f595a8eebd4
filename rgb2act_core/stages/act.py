"""Act: evaluate the policy closed-loop in its environment, with a receding horizon.

Episodes run in batches of fixed size and composition, each episode samples from its own generator,
and the policy always plans for a batch of the same shape. The same seeds therefore give the same
results for any number of workers, and an interrupted run resumes with the next batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluation.episode_batch import EpisodeBatch, open_batch_planner, summary
from ..evaluation.episode_progress import count_episodes
from ..evaluation.filming import episodes_to_film, film_all
from ..evaluation.rollout_files import read_rollout, rollout_path, video_path
from ..evaluation.seeds import Seeds, select_seeds
from ..evaluation.simulator_pool import SimulatorPool
from ..evaluation.task import EvaluationTask
from ..policy.batch_planner import BatchPlanner
from ..policy.saving import load_policy
from ..spec import Act
from ..spec.requirements import policy_backbones, policy_teacher
from ..store.disk_errors import guard
from ..store.files import read_json, write_json, write_record
from ..store.stage_folder import StageFolder, shards_of
from ..system.devices import device_of
from ..system.progress import progress_bar, say
from .act_shards import Batch, ShardedEvaluation, batches_of, merge_batches
from .run import Run
from .tasks import Tasks


def act(
    run: Run,
    tasks: Tasks,
    policy_folder: Path,
    folder: Path,
    title: str = "act",
    student: Path | None = None,
) -> dict[str, Any]:
    """Evaluate the policy on the spec's seeds and return success rate and episodes.

    Results are also written to ``folder``. Each of several tasks is evaluated on its own seeds,
    and the results contain the success rate of each. ``student`` is the folder of a student that
    acts with a head of the full encoder.
    """
    planner = _planner(run, policy_folder, student)
    path, lost_path = folder / "episodes.json", folder / "lost.json"
    with guard(folder):
        (folder / "videos").mkdir(exist_ok=True)
    evaluations = evaluation_tasks(run, tasks.names)
    all_seeds = [select_seeds(evaluation) for evaluation in evaluations]
    _write_seeds(folder / "seeds.json", tasks, all_seeds)
    if not path.exists():
        _merge_shards(folder, batches_of(all_seeds, planner.batch))
    episodes: list[dict[str, Any]] = read_json(path)["episodes"] if path.exists() else []
    lost: list[dict[str, Any]] = read_json(lost_path)["lost"] if lost_path.exists() else []
    count, end = sum(len(seeds.accepted) for seeds in all_seeds), 0
    with progress_bar(title, count, "episodes", done=len(episodes)) as advance:
        ended = count_episodes(advance, [episode["success"] for episode in episodes])
        for evaluation, seeds in zip(evaluations, all_seeds, strict=True):
            first, end, name = end, end + len(seeds.accepted), evaluation.name
            if len(episodes) >= end and not unfilmed(
                run.spec.act, folder, episodes[first:end], name
            ):
                continue  # done before an interruption
            frames, clouds = planner.frames_observed, run.spec.policy.observes.teacher
            with evaluation.simulators(planner.batch, frames, clouds) as simulators:
                while len(episodes) < end:
                    part = seeds.accepted[len(episodes) - first :][: planner.batch]
                    scenes = seeds.scenes_of(part)
                    batch = EpisodeBatch(
                        run.spec.act, planner, simulators, part, folder, scenes, name
                    )
                    episodes += batch.run(ended)
                    write_record(path, {"episodes": episodes})
                    if simulators.lost:  # kept apart from the results, which losses do not change
                        write_json(lost_path, {"lost": [*lost, *simulators.lost]})
                lost += simulators.lost
                film_some(run.spec.act, simulators, folder, episodes[first:end], name)
    for episode in episodes:
        enter_video(folder, episode)
    return _results(run, tasks, all_seeds, episodes, folder) | {
        "fingerprint_errors": list(planner.encoders.fingerprint_errors),
        "jump": planner.policy.config.jump,
    }


def _merge_shards(folder: Path, batches: Sequence[Batch]) -> None:
    """Put the episodes that shards evaluated into the folder of an evaluation."""
    episodes, lost = merge_batches(shards_of(folder), batches, folder)
    if episodes:
        if lost:
            write_json(folder / "lost.json", {"lost": lost})
        write_record(folder / "episodes.json", {"episodes": episodes})


def open_shards(
    run: Run,
    tasks: Tasks,
    policy_folder: Path,
    target: StageFolder,
    student: Path | None = None,
) -> ShardedEvaluation:
    """Return the evaluation of a policy in shards; ``act`` merges them."""
    evaluations = evaluation_tasks(run, tasks.names)
    return ShardedEvaluation(
        target=target,
        planner=_planner(run, policy_folder, student),
        tasks=evaluations,
        all_seeds=[select_seeds(evaluation) for evaluation in evaluations],
        clouds=run.spec.policy.observes.teacher,
    )


def evaluation_tasks(run: Run, names: Sequence[str]) -> tuple[EvaluationTask, ...]:
    """Return how a run evaluates in each of its tasks, which have these names."""
    return tuple(
        EvaluationTask(
            environment=environment,
            act=run.spec.act,
            compute=run.spec.compute,
            store=run.store,
            name=name if len(names) > 1 else None,
        )
        for environment, name in zip(run.spec.environments, names, strict=True)
    )


def film_some(
    act: Act,
    simulators: SimulatorPool,
    folder: Path,
    episodes: Sequence[dict[str, Any]],
    task: str | None = None,
) -> None:
    """Film ``[act] videos`` of a task's episodes, failures first, unless they are filmed.

    An episode that cannot be repeated is reported and stays without a video.
    """
    seeds = unfilmed(act, folder, episodes, task)
    rollouts = [read_rollout(rollout_path(folder, seed, task)) for seed in seeds]
    for film in film_all(simulators, folder, rollouts, act.parallel_episodes):
        if film.problem:
            say(f"act: {film.problem}")


def unfilmed(
    act: Act, folder: Path, episodes: Sequence[dict[str, Any]], task: str | None
) -> list[int]:
    """Return the seeds of the episodes that are to be filmed and have no video yet.

    An episode whose actions are not stored cannot be filmed.
    """
    chosen = episodes_to_film(episodes, act.videos)
    left = [seed for seed in chosen if not video_path(folder, seed, task).exists()]
    return [seed for seed in left if rollout_path(folder, seed, task).exists()]


def enter_video(folder: Path, episode: dict[str, Any]) -> None:
    """Enter the path of an episode's video in its results, if there is one."""
    path = video_path(folder, episode["seed"], episode.get("task"))
    if path.exists():
        episode["video"] = "/".join(path.parts[-2:])


def _write_seeds(path: Path, tasks: Tasks, all_seeds: Sequence[Seeds]) -> None:
    if len(tasks) == 1:
        write_json(path, all_seeds[0].plain())
    else:
        by_task = zip(tasks.names, all_seeds, strict=True)
        write_json(path, {name: seeds.plain() for name, seeds in by_task})


def _results(
    run: Run,
    tasks: Tasks,
    all_seeds: Sequence[Seeds],
    episodes: list[dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Return the results over all episodes and those of each of several tasks; publish them."""
    parts, first = {}, 0
    for task, seeds in zip(tasks, all_seeds, strict=True):
        part = episodes[first : first + len(seeds.accepted)]
        first += len(part)
        parts[task.name] = summary(part, run.spec.act.limit(task.info.max_steps)) | {
            **({"seeds": seeds.summary()} if seeds.source else {}),
            **take_simulator(part),
        }
        task.publish(folder, parts[task.name] | {"episodes": part})
    if len(parts) == 1:
        return next(iter(parts.values())) | {"episodes": episodes}
    limit = run.spec.act.limit(tasks.info.max_steps)
    return summary(episodes, limit) | {"episodes": episodes, "tasks": parts}


def take_simulator(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Remove the simulator's facts from the episodes and return them once."""
    facts = [facts for episode in episodes if (facts := episode.pop("simulator", None))]
    return {"simulator": facts[0]} if facts else {}


def _planner(run: Run, folder: Path, student: Path | None) -> BatchPlanner:
    device = device_of(run.spec.compute.device, run.spec.compute.threads)
    policy = load_policy(folder, device, student)
    if run.spec.act.compile:
        policy.compile_plans()
    backbones, teacher = policy_backbones(run.spec), policy_teacher(run.spec)
    return open_batch_planner(policy, backbones, run.spec.act, device, teacher)
