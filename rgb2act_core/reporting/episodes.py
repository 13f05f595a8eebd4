"""Show the episodes that a policy acted in: films, how smoothly it led, a table of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ..data.video import read_mp4
from ..errors import UserError
from ..store.files import read_json
from . import charts
from .html import mark, muted, note, number, table

COURSE = (  # of an episode, and the table's headings
    ("plans", "#plans"),
    ("seam", "#seam"),
    ("largest_step", "#largest step, rad"),
    ("jumps", "#jumps"),
    ("rewinds", "#rewinds"),
    ("largest_hand_step", "#hand's largest step, m"),
    ("hand_jumps", "#hand jumps"),
    ("hand_rewinds", "#hand rewinds"),
    ("clipped_steps", "#clipped steps"),
)


def films(folder: Path, results: Mapping[str, Any]) -> str:
    """Return films, and below them the course of each filmed episode."""
    filmed = [episode for episode in results["episodes"] if episode.get("video")]
    if not filmed:
        return muted("No episode was filmed.")
    shown = "".join(_film(folder, episode) for episode in filmed)
    courses = "".join(_course(folder, episode) for episode in filmed)
    return f'<div class="films">{shown}</div><div class="charts">{courses}</div>'


def _film(folder: Path, episode: Mapping[str, Any]) -> str:
    path = folder / episode["video"]
    try:
        read_mp4(path)
    except UserError as err:
        return note(str(err))
    caption = f"{_task(episode)}seed {int(episode['seed'])}, {int(episode['steps'])} steps: "
    source = charts.data_uri("video/mp4", path.read_bytes())
    return (
        f'<figure><video controls muted loop playsinline preload="auto" src="{source}"></video>'
        f"<figcaption>{caption}{mark(episode['success'])}</figcaption></figure>"
    )


def _task(episode: Mapping[str, Any]) -> str:
    return f"{escape(str(episode['task']))}, " if "task" in episode else ""


def _course(folder: Path, episode: Mapping[str, Any]) -> str:
    """Draw how long the steps of a filmed episode were and how far its plans apart."""
    place = (folder / episode["video"]).with_suffix(".json")
    if not place.exists():
        return ""
    curves, who = read_json(place), f"{episode.get('task', '')} seed {int(episode['seed'])}"
    plots = (
        (f"{who.strip()}: joints' steps, rad", "joints"),
        (f"{who.strip()}: fastest hand's steps, m", "hands"),
        (f"{who.strip()}: seams, by plan", "seams"),
    )
    return "".join(
        charts.chart(title, {name: list(enumerate(map(float, curves[name]), 1))})
        for title, name in plots
        if curves.get(name)
    )


def episodes(results: Mapping[str, Any]) -> str:
    """Return a table of all episodes."""
    told = [(name, head) for name, head in COURSE if any(name in e for e in results["episodes"])]
    rows = [
        [
            f"{_task(episode)}{int(episode['seed'])}",
            mark(episode["success"]),
            str(int(episode["steps"])),
            *(number(episode.get(name)) for name, _ in told),
        ]
        for episode in results["episodes"]
    ]
    limit = results.get("max_steps", "?")
    heads = ("#seed", "outcome", f"#steps, of {limit}", *(head for _, head in told))
    return table(heads, rows, "tall") + muted(
        "Seam: how far a plan is from the one before it where both say something, in half ranges"
        " of the actions. A jump is a step of more than 0.15 rad over all joints, a rewind one"
        " that goes back to where the joints were 10 to 80 steps before; a hand's jump is one of"
        " more than 5 cm, its rewind one that lands within 2 cm of such a place."
        " Clipped steps: the share of steps in whose plan the head's clipping moved a joint by more"
        " than 5 % of half its range."
    )


def rejected(results: Mapping[str, Any]) -> str:
    """Return how many seeds were not accepted, with reasons; empty where all were."""
    told = "".join(_rejected(who, seeds) for who, seeds in _screenings(results))
    return f"<h4>Seeds that were not accepted</h4>{told}" if told else ""


def _screenings(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what is known of seeds, for each of several tasks with its name."""
    for who, found in {"": results, **results.get("tasks", {})}.items():
        if found.get("seeds"):
            yield who, found["seeds"]


def _rejected(who: str, seeds: Mapping[str, Any]) -> str:
    reasons = Counter(str(row["reason"]) for row in seeds["rejected"])
    if not reasons:
        return ""
    front = f"{who}: " if who else ""
    count = len(seeds["accepted"]) + reasons.total()
    rows = [
        [escape(why), str(n), ", ".join(_seeds(seeds, why, most=20))]
        for why, n in reasons.most_common(20)
    ]
    text = muted(f"{front}{reasons.total()} of {count}; none of them counts as a failure.")
    return text + table(("reason", "#seeds", ""), rows)


def _seeds(seeds: Mapping[str, Any], why: str, most: int) -> list[str]:
    numbers = [str(int(row["seed"])) for row in seeds["rejected"] if row["reason"] == why]
    return numbers if len(numbers) <= most else [*numbers[:most], "..."]


def lost(folder: Path) -> str:
    """Return which episodes were repeated since their simulator was lost; empty for none."""
    place = folder / "lost.json"
    if not place.exists():
        return ""
    rows = [
        [str(int(loss["seed"])), str(int(loss["chunk"])), escape(str(loss["why"]).split("\n")[0])]
        for loss in read_json(place)["lost"]
    ]
    return (
        "<h4>Episodes that were repeated</h4>"
        + muted("No result changed; lost.json beside them has the simulators' last output.")
        + table(("#seed", "#after plans", "what was lost"), rows)
    )
