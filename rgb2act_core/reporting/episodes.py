"""The episodes of a policy's evaluation: success rates, videos, smoothness, rejected seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..data.video import read_mp4
from ..errors import UserError
from ..evaluation.success_rate import wilson
from ..store.files import read_json
from ..store.stage_id import Stage, StageId
from .blocks import (
    Block,
    Cell,
    Charts,
    Heading,
    Paragraph,
    Styled,
    Table,
    Video,
    Videos,
    guarded,
    note,
)
from .charts import Chart, bar, chart
from .formats import duration, number, percent
from .media import data_uri
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
CURVES = (  # of an episode with a video, and the charts' titles
    ("joints", "joint steps, rad"),
    ("hands", "steps of the fastest hand, m"),
    ("seams", "seam per plan"),
)
SHOWN_REASONS = SHOWN_SEEDS = 20


def count_successes(act: StageResults) -> tuple[int, int]:
    """Return the number of successful episodes and of all."""
    outcomes = [episode["success"] for episode in act.results["episodes"]]
    return sum(outcome is True for outcome in outcomes), len(outcomes)


def comparison(acted: Sequence[StageResults], stages: Stages) -> Iterator[Block]:
    """Yield a table of the success rates of the run's policy and its baselines."""

    def row(act: StageResults) -> list[Cell]:
        successes, n = count_successes(act)
        low, high = wilson(successes, n)
        rate = successes / n if n else 0.0
        trained = stages.get(StageId(Stage.TRAIN, act.id.variant))
        return [
            act.policy_name,
            Styled(percent(rate) if n else "-", "bold"),
            bar(rate, (low, high), not act.is_baseline),
            f"{percent(low)} to {percent(high)}",
            f"{successes} of {n}",
            duration(trained.results.get("cpu_seconds") if trained else None),
        ]

    headings = ("policy", "#success", "", "#95 % interval", "#seeds", "#training, CPU time")
    yield Table(headings, list(map(row, acted)))


def videos(act: StageResults) -> Iterator[Block]:
    """Yield the recorded videos, and below them the smoothness of these episodes over time."""
    recorded = [episode for episode in act.results["episodes"] if episode.get("video")]
    if not recorded:
        yield Paragraph("No videos were recorded.")
        return
    shown = []
    for episode in recorded:
        try:
            shown.append(_video(act.folder, episode))
        except UserError as err:
            yield note(str(err))
    yield Videos(shown)
    yield Charts([c for episode in recorded for c in _smoothness_charts(act.folder, episode)])


def _video(folder: Path, episode: Mapping[str, Any]) -> Video:
    path = _video_path(folder, episode)
    read_mp4(path)
    return Video(
        source=data_uri("video/mp4", path.read_bytes()),
        caption=f"{_name(episode)}, {int(episode['steps'])} steps",
        outcome=_outcome(episode["success"]),
    )


def _video_path(folder: Path, episode: Mapping[str, Any]) -> Path:
    """Return the file of an episode's video.

    Results name the last two parts of its path. A task name with "/" adds more, which are found
    by the file's name.
    """
    path = folder / str(episode["video"])
    if path.exists():
        return path
    found = sorted((folder / "videos").rglob("*.mp4"))
    ending = Path(str(episode["video"])).parts
    return next((file for file in found if file.parts[-len(ending) :] == ending), path)


def _name(episode: Mapping[str, Any]) -> str:
    task = f"{episode['task']}, " if "task" in episode else ""
    return f"{task}seed {int(episode['seed'])}"


def _outcome(success: object) -> Styled:
    return Styled("\u2713 success", "good") if success is True else Styled("\u2717 failed", "bad")


def _smoothness_charts(folder: Path, episode: Mapping[str, Any]) -> Iterator[Chart]:
    path = _video_path(folder, episode).with_suffix(".json")
    curves = read_json(path) if path.exists() else {}
    for key, title in CURVES:
        if curves.get(key):
            points = list(enumerate(map(float, curves[key]), 1))
            yield chart(f"{_name(episode)}: {title}", {key: points})


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
            _outcome(episode["success"]),
            str(int(episode["steps"])),
            *(number(episode.get(name)) for name, _ in measured),
        ]
        for episode in episodes
    ]
    headings = ("#seed", "outcome", f"#steps, of {results.get('max_steps', '?')}")
    return Table((*headings, *(head for _, head in measured)), rows, "tall")


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
