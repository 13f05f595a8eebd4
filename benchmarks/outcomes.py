"""Success of trained policies: reading it from runs, a file that keeps it, a table and a plot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import matplotlib

from rgb2act_core.evaluation.success_rate import wilson
from rgb2act_core.store.stage_id import Stage, StageId

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@attrs.frozen
class Outcome:
    """Training time and success of one policy."""

    condition: str
    at: float  # what rows and points are grouped by: scale of the steps, number of demonstrations
    seed: int
    cpu_seconds: float  # alignment and policy training
    successes: int
    episodes: int


def run_spec(spec: Path, root: Path, *options: str, command: str = "run") -> Path:
    """Run a spec, or its stages up to ``command``, and return the run's folder."""
    line = [sys.executable, "-m", "rgb2act_core", command, str(spec), "--root", str(root)]
    process = subprocess.run(
        [*line, "--json", *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RGB2ACT_QUIET": "1"},
    )
    return Path(json.loads(process.stdout)["run"])


def outcomes_of(run: Path, root: Path, condition: str, at: float, seed: int) -> Iterator[Outcome]:
    """Yield the outcome of a finished run's policy, of this condition, and of each baseline."""
    results = {
        StageId.parse(stage["stage"]): json.loads(
            (root / stage["path"] / "stage.json").read_text()
        )["results"]
        for stage in json.loads((run / "run.json").read_text())["stages"]
        if StageId.parse(stage["stage"]).stage in (Stage.ALIGN, Stage.TRAIN, Stage.ACT)
    }
    align = results.get(StageId(Stage.ALIGN), {"cpu_seconds": 0.0})
    for stage, act in results.items():
        if stage.stage is Stage.ACT:
            trained = results[StageId(Stage.TRAIN, stage.variant)]["cpu_seconds"]
            if not stage.variant:
                trained += align["cpu_seconds"]
            name = stage.variant or condition
            yield Outcome(name, at, seed, trained, act["successes"], len(act["episodes"]))


class OutcomesFile:
    """A JSON file of outcomes; a new one replaces that of the same condition, group and seed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else []
        self._found = {self._key(one): one for one in (Outcome(**each) for each in stored)}

    @property
    def outcomes(self) -> list[Outcome]:
        """Return all outcomes."""
        return list(self._found.values())

    def add(self, new: Iterable[Outcome]) -> None:
        """Add outcomes and write the file."""
        self._found |= {self._key(one): one for one in new}
        rows = [attrs.asdict(one) for one in self.outcomes]
        self.path.write_text(json.dumps(rows, indent=1))

    @staticmethod
    def _key(one: Outcome) -> tuple[str, float, int]:
        return one.condition, one.at, one.seed


def groups(found: Sequence[Outcome], condition: str) -> Iterator[list[Outcome]]:
    """Yield the outcomes of a condition in each group, ordered by seed."""
    rows = [one for one in found if one.condition == condition]
    for at in sorted({one.at for one in rows}):
        yield sorted((one for one in rows if one.at == at), key=lambda one: one.seed)


def table(found: Sequence[Outcome], conditions: Sequence[str], heading: str | None = None) -> str:
    """Return a Markdown table with a row per condition and group, pooled over seeds.

    ``heading`` adds a column with the groups.
    """
    column = [heading] if heading else []
    heads = ["condition", *column, "training, CPU s", "success, each seed", "all", "95 % interval"]
    lines = [heads, ["---"] * len(heads)]
    for condition in conditions:
        for part in groups(found, condition):
            rate, low, high = pooled(part)
            lines.append(
                [
                    condition,
                    *([f"{part[0].at:g}"] if heading else []),
                    f"{mean_seconds(part):.0f}",
                    ", ".join(f"{one.successes / one.episodes:.2f}" for one in part),
                    f"{rate:.2f}",
                    f"{low:.2f} to {high:.2f}",
                ]
            )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plot(
    found: Sequence[Outcome],
    conditions: Sequence[str],
    x: Callable[[Sequence[Outcome]], float],
    path: Path,
    *,
    title: str,
    xlabel: str,
    xscale: str = "linear",
) -> None:
    """Plot success rate against ``x`` of each group: a line per condition with its 95 % interval.

    ``xscale`` is matplotlib's scale of the axis; with ``log`` each x is a tick.
    """
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for condition in conditions:
        points = [(x(part), *pooled(part)) for part in groups(found, condition)]
        if points:
            at, rates, lows, highs = zip(*points, strict=True)
            (line,) = axes.plot(at, rates, marker="o", label=condition)
            axes.fill_between(at, lows, highs, alpha=0.15, color=line.get_color())
    axes.set(xlabel=xlabel, ylabel="success rate", ylim=(-0.02, 1.02), title=title, xscale=xscale)
    if xscale == "log":
        ticks = sorted({x([one]) for one in found})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.minorticks_off()
    else:
        axes.set_xlim(0, None)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def pooled(part: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return the success rate over all seeds, and the ends of its 95 % interval."""
    successes, episodes = sum(o.successes for o in part), sum(o.episodes for o in part)
    return (successes / episodes, *wilson(successes, episodes))


def mean_seconds(part: Sequence[Outcome]) -> float:
    """Return the mean CPU time of training."""
    return sum(one.cpu_seconds for one in part) / len(part)
