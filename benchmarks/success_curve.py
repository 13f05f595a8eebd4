"""Measure success rate against training time for the aligned policy and its baselines.

The spec is run once per scale of its training steps and per training seed. Each baseline trains for
the CPU time that alignment and policy training took together. All runs share demonstrations and
features. Outcomes are collected in results.json; the table and the plot show all of them.

    python benchmarks/success_curve.py examples/quickstart.toml --scales 0.25 0.5
    python benchmarks/success_curve.py examples/quickstart.toml --scales 1 --baselines end_to_end
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import attrs
import matplotlib
import tomli_w

from rgb2act_core import find_run
from rgb2act_core.evaluation.success_rate import wilson
from rgb2act_core.store.stage_id import Stage, StageId

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BASELINES = ("end_to_end", "random_aligner", "proprio_only")
LABELS = {"act": "aligned"} | {f"act/{name}": name for name in BASELINES}


@attrs.frozen
class Outcome:
    """Training time and success of one policy."""

    condition: str
    scale: float
    seed: int
    cpu_seconds: float  # alignment and policy training
    successes: int
    episodes: int


def spec_for(base: dict[str, Any], scale: float, seed: int, baselines: list[str]) -> dict[str, Any]:
    """Return the spec with scaled training steps, the given seed and the baselines."""
    spec = json.loads(json.dumps(base))
    spec["name"] = f"{base['name']}-x{scale:g}-seed{seed}"
    spec["seed"] = seed
    for stage in ("align", "policy"):
        spec[stage]["steps"] = max(round(base[stage]["steps"] * scale), 1)
    spec["act"] |= {"baselines": baselines, "videos": 0}
    spec["compute"] |= {"simulator_workers": 1, "threads": 1}
    return spec


def run(
    base: dict[str, Any], root: Path, scale: float, seed: int, baselines: list[str]
) -> list[Outcome]:
    """Run one spec through the command line and return its outcomes."""
    spec = spec_for(base, scale, seed, baselines)
    spec_path = root / "specs" / f"{spec['name']}.toml"
    spec_path.parent.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(tomli_w.dumps(spec))
    command = [sys.executable, "-m", "rgb2act_core", "run", str(spec_path), "--root", str(root)]
    subprocess.run(command, check=True, env=os.environ | {"RGB2ACT_QUIET": "1"})
    return list(outcomes(root, spec["name"], scale, seed))


def outcomes(root: Path, name: str, scale: float, seed: int) -> Any:
    """Yield the outcome of each condition of a finished run."""
    stages = json.loads((find_run(name, root) / "run.json").read_text())["stages"]
    meta = {
        s["stage"]: json.loads((root / s["path"] / "stage.json").read_text())["results"]
        for s in stages
        if StageId.parse(s["stage"]).stage in (Stage.ALIGN, Stage.TRAIN, Stage.ACT)
    }
    for stage, condition in LABELS.items():
        if stage not in meta:
            continue
        trained = meta[str(StageId(Stage.TRAIN, StageId.parse(stage).variant))]["cpu_seconds"]
        if condition == "aligned":
            trained += meta["align"]["cpu_seconds"]
        act = meta[stage]
        yield Outcome(condition, scale, seed, trained, act["successes"], len(act["episodes"]))


def table(found: list[Outcome]) -> str:
    """Return a Markdown table with one row per condition and scale, pooled over seeds."""
    rows = [
        "| condition | training, CPU s | success, each seed | all | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for condition in LABELS.values():
        for scale in sorted({o.scale for o in found}):
            part = sorted(
                (o for o in found if (o.condition, o.scale) == (condition, scale)),
                key=lambda o: o.seed,
            )
            if not part:
                continue
            successes, episodes = sum(o.successes for o in part), sum(o.episodes for o in part)
            low, high = wilson(successes, episodes)
            each = ", ".join(f"{o.successes / o.episodes:.2f}" for o in part)
            time = sum(o.cpu_seconds for o in part) / len(part)
            rows.append(
                f"| {condition} | {time:.0f} | {each} | {successes / episodes:.2f} |"
                f" {low:.2f} to {high:.2f} |"
            )
    return "\n".join(rows) + "\n"


def plot(found: list[Outcome], path: Path) -> None:
    """Plot success rate against training time: one line per condition with its 95 % interval."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for condition in LABELS.values():
        points = []
        for scale in sorted({o.scale for o in found}):
            part = [o for o in found if (o.condition, o.scale) == (condition, scale)]
            if part:
                successes, episodes = sum(o.successes for o in part), sum(o.episodes for o in part)
                time = sum(o.cpu_seconds for o in part) / len(part)
                points.append((time, successes / episodes, *wilson(successes, episodes)))
        if points:
            times, rates, lows, highs = zip(*points, strict=True)
            (line,) = axes.plot(times, rates, marker="o", label=condition)
            axes.fill_between(times, lows, highs, alpha=0.15, color=line.get_color())
    axes.set(
        xlabel="alignment and policy training, CPU seconds",
        ylabel="success rate",
        ylim=(-0.02, 1.02),
        xlim=(0, None),
        title="lift_distractors, unseen seeds",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run all specs in parallel, print the table and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, help="run spec")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the runs")
    scales = [0.25, 0.5, 1.0]
    parser.add_argument("--scales", type=float, nargs="+", default=scales, help="of training steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument("--baselines", nargs="*", default=list(BASELINES), choices=BASELINES)
    parser.add_argument("--jobs", type=int, default=2, help="number of parallel runs")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of results.json")
    options = parser.parse_args()
    base = tomllib.loads(options.spec.read_text())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "rgb2act_core",
            "extract",
            str(options.spec),
            "--root",
            str(options.root),
        ],
        check=True,
    )
    results_path = options.out / "results.json"
    before = json.loads(results_path.read_text()) if results_path.exists() else []
    found = {(o["condition"], o["scale"], o["seed"]): Outcome(**o) for o in before}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        todo = [
            pool.submit(run, base, options.root, scale, seed, options.baselines)
            for scale in options.scales
            for seed in options.seeds
        ]
        for done in concurrent.futures.as_completed(todo):
            found |= {(o.condition, o.scale, o.seed): o for o in done.result()}
            outcomes_so_far = list(found.values())
            results_path.write_text(
                json.dumps([attrs.asdict(o) for o in outcomes_so_far], indent=1)
            )
            print(table(outcomes_so_far), flush=True)
    plot(list(found.values()), options.out / "results.svg")


if __name__ == "__main__":
    main()
