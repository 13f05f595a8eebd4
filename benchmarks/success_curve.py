"""Measure success rate against training time for the aligned policy and its baselines.

The spec is run once per scale of its training steps and per training seed. Each baseline trains for
the CPU time that alignment and policy training took together. All runs share demonstrations and
features. Outcomes are collected in results.json; the table and the plot show all of them.

    spec=examples/lift_distractors.toml
    python benchmarks/success_curve.py $spec --scales 0.25 0.5
    python benchmarks/success_curve.py $spec --scales 1 --baselines end_to_end
"""

from __future__ import annotations

import argparse
import concurrent.futures
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from outcomes import Outcome, OutcomesFile, mean_seconds, outcomes_of, plot, run_spec, table

BASELINES = ("end_to_end", "random_aligner", "proprio_only")
CONDITIONS = ("aligned", *BASELINES)


def spec_for(base: dict[str, Any], scale: float, seed: int, baselines: list[str]) -> dict[str, Any]:
    """Return the spec with scaled training steps, the given seed and the baselines."""
    steps = {s: {"steps": max(round(base[s]["steps"] * scale), 1)} for s in ("align", "policy")}
    return base | {
        "name": f"{base['name']}-x{scale:g}-seed{seed}",
        "seed": seed,
        "align": base["align"] | steps["align"],
        "policy": base["policy"] | steps["policy"],
        "act": base["act"] | {"baselines": baselines, "videos": 0},
        "compute": base["compute"] | {"simulator_workers": 1, "threads": 1},
    }


def run(base: dict[str, Any], scale: float, seed: int, given: argparse.Namespace) -> list[Outcome]:
    """Run one spec and return its outcomes."""
    root, spec = given.root, spec_for(base, scale, seed, given.baselines)
    path = root / "specs" / f"{spec['name']}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(spec))
    return list(outcomes_of(run_spec(path, root, *given.set), root, "aligned", scale, seed))


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
    parser.add_argument("--set", action="append", default=[], metavar="K=V", help="change the spec")
    options = parser.parse_args()
    options.set = [part for value in options.set for part in ("--set", value)]
    base = tomllib.loads(options.spec.read_text())
    extract = [sys.executable, "-m", "rgb2act_core", "extract", str(options.spec), *options.set]
    subprocess.run([*extract, "--root", str(options.root)], check=True)
    results = OutcomesFile(options.out / "results.json")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        todo = [
            pool.submit(run, base, scale, seed, options)
            for scale in options.scales
            for seed in options.seeds
        ]
        for done in concurrent.futures.as_completed(todo):
            results.add(done.result())
            print(table(results.outcomes, CONDITIONS), flush=True)
    plot(
        results.outcomes,
        CONDITIONS,
        mean_seconds,
        options.out / "results.svg",
        title="lift_distractors, unseen seeds",
        xlabel="alignment and policy training, CPU seconds",
    )


if __name__ == "__main__":
    main()
