"""The model card of a pushed policy, ``README.md``: what it does, and what it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..reporting.formats import toml
from ..spec.differences import without_defaults
from .manifest import Manifest, Weights

UNKNOWN = "unknown; see its source"


def model_card(manifest: Manifest) -> str:
    """Return the card as Markdown with the metadata that the hub reads."""
    spec = without_defaults(manifest.spec)
    parts = [
        _metadata(manifest),
        f"# {manifest.name}",
        "A bimanual robot policy from RGB, trained with"
        f" [rgb2act](https://github.com/rgb2act/rgb2act) {manifest.version}.",
        "## Use",
        f"```bash\nrgb2act pull OWNER/NAME   # this repository\nrgb2act act {manifest.name}\n```",
        "## Success",
        *_success(manifest.act),
        "## Data",
        *_data(manifest.spec),
        "## Pretrained weights",
        *_weights(manifest),
        "## Spec",
        "Files are named, but not part of this repository.",
        f"```toml\n{toml(spec)}```",
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(manifest: Manifest) -> str:
    tags = ["robotics", "rgb2act", "lerobot", *sorted(environments_of(manifest.spec))]
    lines = ["library_name: lerobot", "pipeline_tag: robotics", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _success(act: Mapping[str, Any]) -> Iterator[str]:
    if not act:
        yield "The policy was not evaluated."
        return
    (low, high), episodes = act["interval"], act["episodes"]
    yield (
        f"{act['rate']:.0%}: {act['successes']} of {len(episodes)} episodes, 95% Wilson interval"
        f" {low:.0%} to {high:.0%}, at most {act['max_steps']} steps each, on seeds"
        f" {_ranges([episode['seed'] for episode in episodes])}."
    )
    tasks = dict.fromkeys(str(episode["task"]) for episode in episodes if "task" in episode)
    if tasks:
        rows = [_row(task, [e for e in episodes if e.get("task") == task]) for task in tasks]
        yield "\n".join(["| task | success |", "|---|---|", *rows])


def _row(task: str, episodes: Sequence[Mapping[str, Any]]) -> str:
    return f"| {task} | {sum(e['success'] for e in episodes)} of {len(episodes)} |"


def _ranges(seeds: Sequence[int]) -> str:
    """Return seeds as text such as ``0 to 99, 200``."""
    found: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if found and seed == found[-1][-1] + 1:
            found[-1][1:] = [seed]
        else:
            found.append([seed])
    return ", ".join(" to ".join(map(str, part)) for part in found)


def _data(spec: Mapping[str, Any]) -> Iterator[str]:
    environments = spec["environment"]
    tables = environments if isinstance(environments, list) else [environments]
    for table in tables:
        task = f", task `{table['task']}`" if table.get("task") else ""
        yield f"- environment `{table['use']}`{task}"
    count, seed = spec["collect"]["episodes"], spec["seed"]
    yield f"Demonstrations per task: {count}; seed of the training: {seed}."


def environments_of(spec: Mapping[str, Any]) -> set[str]:
    """Return the names of a spec's environments."""
    environments = spec["environment"]
    return {t["use"] for t in (environments if isinstance(environments, list) else [environments])}


def _weights(manifest: Manifest) -> Iterator[str]:
    if not manifest.weights:
        yield "The policy needs no pretrained weights."
        return
    yield "The policy needs these weights, which are not part of this repository."
    yield weights_table(manifest.weights)


def weights_table(weights: Iterable[Weights]) -> str:
    """Return a table of pretrained weights with their licences."""
    rows = [
        f"| {w.component} | {w.name} | {w.licence or UNKNOWN} | {w.source or UNKNOWN} |"
        for w in weights
    ]
    return "\n".join(["| component | weights | licence | source |", "|---|---|---|---|", *rows])
