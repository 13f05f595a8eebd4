"""The episodes of a policy's evaluation: success rates, videos, smoothness, rejected seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.success_rate import wilson
from ..store.files import read_json
from ..store.stage_id import Stage, StageId
from .blocks import (
    Block,
    Cell,
    Heading,
    Paragraph,
    Styled,
    Table,
    guarded,
)
from .charts import bar
from .formats import duration, number, percent
from .stage_results import StageResults, Stages

SMOOTHNESS = (  # of an episode, and the table's headings
    ("plans", "#plans"),
    ("seam", "#seam"),
    ("largest_step", "#largest step, rad"),
    ("jumps", "#jumps"),
    ("rewinds", "#rewinds"),
    ("largest_hand_step", "#largest hand step, m"),
    ("hand_jumps", "#hand jumps"),
    ("hand_rewinds", "#hand rewinds"),
    ("clipped_steps", "#clipped steps"),
)
SHOWN_REASONS = SHOWN_SEEDS = 20


def count_successes(act: StageResults) -> tuple[int, int]:
    """Return the number of successful episodes and of all."""
    outcomes = [episode["success"] for episode in act.results["episodes"]]
    return sum(outcome is True for outcome in outcomes), len(outcomes)


def failures_first(episodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the episodes that failed, then those that succeeded, each in their order."""
    return sorted(episodes, key=lambda episode: episode["success"] is True)


def comparison(acted: Sequence[StageResults], stages: Stages) -> Iterator[Block]:
    """Yield a table of the success rates of the run's policy and its baselines."""

    def row(act: StageResults) -> list[Cell]:
        successes, n = count_successes(act)
        low, high = wilson(successes, n)
        rate = successes / n if n else 0.0
        return [
            act.policy_name,
            Styled(percent(rate) if n else "-", "bold"),
            bar(rate, (low, high), not act.is_baseline),
            f"{percent(low)} to {percent(high)}",
            f"{successes} of {n}",
            duration(_training_seconds(act.id.variant, stages)),
        ]

    headings = ("policy", "#success", "", "#95 % interval", "#seeds", "#training, CPU time")
    yield Table(headings, list(map(row, acted)))
    if any(act.is_baseline for act in acted) and StageId(Stage.ALIGN) in stages:
        yield Paragraph(
            "The training time of this run's policy includes that of its aligner; each baseline"
            " trains for as long as both together."
        )


def _training_seconds(variant: str, stages: Stages) -> float | None:
    """Return the CPU time of a policy's training and, of the run's own policy, its aligner's."""
    ids = [StageId(Stage.TRAIN, variant), *([] if variant else [StageId(Stage.ALIGN)])]
    seconds = [stages[id].results.get("cpu_seconds") for id in ids if id in stages]
    known = [value for value in seconds if value is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def episode_title(episode: Mapping[str, Any]) -> str:
    """Return the task, if there are several, and the seed of an episode."""
    task = f"{episode['task']}, " if "task" in episode else ""
    return f"{task}seed {int(episode['seed'])}"


def outcome(success: object) -> Styled:
    """Return the outcome of an episode as a table or a caption shows it."""
    return Styled("\u2713 success", "good") if success is True else Styled("\u2717 failed", "bad")


def tables(act: StageResults) -> Iterator[Block]:
    """Yield a table of all episodes, of rejected seeds and of repeated episodes."""
    yield _episode_table(act.results)
    yield Paragraph(
        "Seam: distance between consecutive plans over the steps they share, as a share of half"
        " the action range. Jump: a step of the joints of more than"
        f" {act.results.get('jump', 0.15):.2g} rad. Rewind: a jump"
        " back to where the joints were 10 to 80 steps earlier. Hand jump: a step of more than"
        " 5 cm. Hand rewind: a hand jump that ends within 2 cm of such an earlier position."
        " Clipped steps: share of steps in which action clipping moved a joint by more than 5 % of"
        " half its action range."
    )
    yield from _rejected_seeds(act.results)
    yield from guarded(partial(_repeated_episodes, act.folder))


def _episode_table(results: Mapping[str, Any]) -> Table:
    episodes = results["episodes"]
    measured = [(name, head) for name, head in SMOOTHNESS if any(name in e for e in episodes)]
    rows: list[list[Cell]] = [
        [
            f"{episode['task']}, {int(episode['seed'])}"
            if "task" in episode
            else str(int(episode["seed"])),
            outcome(episode["success"]),
            str(int(episode["steps"])),
            *(number(episode.get(name)) for name, _ in measured),
        ]
        for episode in failures_first(episodes)
    ]
    headings = ("#seed", "outcome", f"#steps, of {results.get('max_steps', '?')}")
    return Table((*headings, *(head for _, head in measured)), rows, "tall", sortable=True)


def _rejected_seeds(results: Mapping[str, Any]) -> Iterator[Block]:
    screenings = {"": results, **results.get("tasks", {})}
    rejected = {
        task: found["seeds"]
        for task, found in screenings.items()
        if found.get("seeds") and found["seeds"]["rejected"]
    }
    if rejected:
        yield Heading("Rejected seeds", 4)
    for task, seeds in rejected.items():
        count, total = len(seeds["rejected"]), len(seeds["accepted"]) + len(seeds["rejected"])
        prefix = f"{task}: " if task else ""
        yield Paragraph(f"{prefix}{count} of {total} seeds; none counts as a failure.")
        yield _reasons_table(seeds["rejected"])


def _reasons_table(rejected: Sequence[Mapping[str, Any]]) -> Table:
    counts = Counter(str(row["reason"]) for row in rejected)
    rows = []
    for reason, count in counts.most_common(SHOWN_REASONS):
        seeds = [str(int(row["seed"])) for row in rejected if str(row["reason"]) == reason]
        more = ["..."] if len(seeds) > SHOWN_SEEDS else []
        rows.append([reason, str(count), ", ".join([*seeds[:SHOWN_SEEDS], *more])])
    return Table(("reason", "#seeds", ""), rows)


def _repeated_episodes(folder: Path) -> Iterator[Block]:
    """Yield the episodes that were repeated because their simulator was lost."""
    path = folder / "lost.json"
    if not path.exists():
        return
    rows = [
        [str(int(loss["seed"])), str(int(loss["chunk"])), str(loss["why"]).split("\n")[0]]
        for loss in read_json(path)["lost"]
    ]
    yield Heading("Repeated episodes", 4)
    yield Paragraph("Results are not affected; lost.json has the simulators' last output.")
    yield Table(("#seed", "#after plans", "reason"), rows)
