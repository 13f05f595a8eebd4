"""Act: the policy drives the environment closed-loop with a receding horizon.

Episodes run in waves of a fixed size and composition, each episode draws from its own generator,
and a batch always has the same shape: the same seeds give the same result, whatever the workers,
and a run that was stopped goes on with the next wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluation.seeds import Seeds, choose
from ..evaluation.waves import EpisodeBatch, planner_of, simulators_of, summary
from ..policy.planner import Planner
from ..policy.saving import load_policy
from ..store.files import guard, read_json, write_json
from ..store.run import Run
from ..system.devices import device_of
from ..system.progress import task
from .tasks import Tasks


def act(
    run: Run, tasks: Tasks, policy_folder: Path, folder: Path, title: str = "act"
) -> dict[str, Any]:
    """Try the policy on the spec's seeds in ``folder`` and return the success rate and episodes.

    Of several tasks, each on seeds of its own, there are the rates of each besides.
    """
    planner = _planner(run, policy_folder)
    place = folder / "episodes.json"
    episodes: list[dict[str, Any]] = read_json(place)["episodes"] if place.exists() else []
    losses = folder / "lost.json"
    lost: list[dict[str, Any]] = read_json(losses)["lost"] if losses.exists() else []
    with guard(folder):
        (folder / "videos").mkdir(exist_ok=True)
    tries, several = run.spec.act, len(tasks) > 1
    chosen = [choose(alone) for alone in run.tasks]
    told = {t.name: seeds.plain() for t, seeds in zip(tasks, chosen, strict=True)}
    write_json(folder / "seeds.json", told if several else chosen[0].plain())
    count, end = sum(len(seeds.accepted) for seeds in chosen), 0
    with task(title, count, "episodes", done=len(episodes)) as advance:
        for alone, each, seeds in zip(run.tasks, tasks, chosen, strict=True):
            first, end = end, end + len(seeds.accepted)
            if len(episodes) >= end:
                continue  # a run that was stopped did them
            name = each.name if several else None
            films = _films(folder, seeds.accepted[: tries.videos], name)
            with simulators_of(alone, planner) as simulators:
                while len(episodes) < end:
                    wave = list(seeds.accepted[len(episodes) - first :][: planner.batch])
                    known = {seed: seeds.told[seed] for seed in wave if seed in seeds.told}
                    played = EpisodeBatch(tries, planner, simulators, wave, films, known, name)
                    episodes += played.play(advance)
                    write_json(place, {"episodes": episodes})
                    if simulators.lost:  # apart from the results, which they do not change
                        write_json(losses, {"lost": [*lost, *simulators.lost]})
                    advance(0, success=sum(e["success"] for e in episodes) / len(episodes))
                lost += simulators.lost
    return _results(run, tasks, chosen, episodes, folder) | {
        "fingerprint_errors": list(planner.fingerprint_errors)
    }


def _films(folder: Path, seeds: Sequence[int], task: str | None) -> dict[int, Path]:
    """Return where the seeds are filmed, a task's name in front where there are several."""
    front = f"{task}_" if task else ""
    return {seed: folder / f"videos/{front}seed_{seed:07d}.mp4" for seed in seeds}


def _results(
    run: Run,
    tasks: Tasks,
    chosen: Sequence[Seeds],
    episodes: list[dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Return what was reached, over all and in each of several tasks; environments publish it."""
    parts, first = {}, 0
    for each, seeds in zip(tasks, chosen, strict=True):
        part = episodes[first : first + len(seeds.accepted)]
        first += len(part)
        parts[each.name] = summary(part, each.info.max_steps) | {
            **({"seeds": seeds.summary()} if seeds.source else {}),
            **simulator_of(part),
        }
        each.publish(folder, parts[each.name] | {"episodes": part})
    if len(parts) == 1:
        return next(iter(parts.values())) | {"episodes": episodes}
    return summary(episodes, tasks.info.max_steps) | {"episodes": episodes, "tasks": parts}


def simulator_of(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Take what the simulator told of itself from the episodes, and return it once."""
    facts = [facts for episode in episodes if (facts := episode.pop("simulator", None))]
    return {"simulator": facts[0]} if facts else {}


def _planner(run: Run, folder: Path) -> Planner:
    device = device_of(run.spec.compute)
    policy = load_policy(folder).to(device)
    if run.spec.act.compile:
        policy.compile_plans()
    return planner_of(run, policy, device)
