"""Measure success rate against the number of demonstrations for several conditions.

The spec is run once per training seed, number of demonstrations and condition, as the command line
would with --set. A policy has 50 steps of 32 samples per demonstration, that of end_to_end always
5,000. All runs share a store, so what was recorded, encoded or trained before is used again, and an
interrupted measurement resumes. Outcomes are collected in demonstrations.json; the table and the
plot show all of them.

    python benchmarks/demonstration_curve.py examples/learned_features.toml --seeds 0
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from outcomes import OutcomesFile, outcomes_of, plot, run_spec, table

STEPS = 50  # of a policy per demonstration
BATCH = ["policy.batch_size=32"]
OPTIONS = {"end_to_end": ["policy.steps=5000"]}  # few demonstrations need as many steps


def main() -> None:
    """Run all specs, print the table after each, and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", type=Path, help="run spec")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the runs")
    counts = [10, 25, 50, 100, 200]
    parser.add_argument("--counts", type=int, nargs="+", default=counts, help="of demonstrations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    conditions = ["aligned", "end_to_end", "teacher"]
    parser.add_argument("--conditions", nargs="+", default=conditions)
    parser.add_argument("--set", dest="options", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--title", default="lift_distractors, EfficientNet-Lite0")
    parser.add_argument("--out", type=Path, default=Path("docs/demonstrations"), metavar="STEM")
    given = parser.parse_args()
    results = OutcomesFile(given.out.with_suffix(".json"))
    for seed, count, condition in itertools.product(given.seeds, given.counts, given.conditions):
        values = [f"seed={seed}", f"collect.episodes={count}", f"policy.condition={condition}"]
        values += [f"policy.steps={STEPS * count}", "act.videos=0"]
        values += [*BATCH, *OPTIONS.get(condition, []), *given.options]
        run = run_spec(given.spec, given.root, *(part for v in values for part in ("--set", v)))
        results.add(outcomes_of(run, given.root, condition, count, seed))
        found = results.outcomes
        names = sorted({one.condition for one in found})
        print(table(found, names, "demonstrations"), flush=True)
    plot(
        found,
        [name for name in names if len({o.at for o in found if o.condition == name}) > 1],
        lambda part: part[0].at,
        given.out.with_suffix(".svg"),
        title=f"{given.title}, unseen seeds",
        xlabel="demonstrations",
        xscale="log",
    )


if __name__ == "__main__":
    main()
