"""Measure success rate against the number of demonstrations, as a TOML file in ``curves`` says.

    python benchmarks/demonstration_curve.py benchmarks/curves/lift_shape.toml

The file names a run spec, options for all runs, and rows: a condition with numbers of
demonstrations, training seeds, and steps of the policy. The spec is run once for each of these, row
by row, as the command line would with --set. A row can name another spec, whose aligner its
policies then use: ``rgb2act align`` first runs that spec for the training seed.

All runs share a store, so what was recorded, encoded or trained before is used again, and an
interrupted measurement resumes. The outcomes are kept in a JSON file. The plot shows the rows with
several numbers of demonstrations.
"""

from __future__ import annotations

import argparse
import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import cattrs
from outcomes import OutcomesFile, outcomes_of, plot, run_spec, table


@attrs.frozen(kw_only=True)
class Row:
    """One condition with the same options at several numbers of demonstrations.

    Rows of the same name are shown together.
    """

    condition: str
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    name: str = ""
    """Name in table and plot, if not that of the condition."""
    aligner: Path | None = None
    """Spec of the aligner that is used, instead of training one on the row's demonstrations."""
    steps: int | None = None
    """Steps of the policy."""
    steps_per_demonstration: int | None = None
    """The same, if they grow with the number of demonstrations."""
    set: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Raise ValueError unless the number of steps is given once."""
        if (self.steps is None) == (self.steps_per_demonstration is None):
            raise ValueError("set either steps or steps_per_demonstration")

    @property
    def label(self) -> str:
        """Return the name of the row."""
        return self.name or self.condition

    def runs(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield training seed, number of demonstrations and changes of the spec of each run."""
        for seed, count in itertools.product(self.seeds, self.counts):
            steps = self.steps or (self.steps_per_demonstration or 0) * count
            options = [f"seed={seed}", f"collect.episodes={count}", f"policy.steps={steps}"]
            yield seed, count, [*options, f"policy.condition={self.condition}", *self.set]


@attrs.frozen(kw_only=True)
class Curves:
    """Everything that one figure shows. All paths are relative to the file."""

    title: str
    spec: Path
    out: Path
    """Path of the outcomes and the plot, without ``.json`` and ``.svg``."""
    rows: tuple[Row, ...]
    set: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Raise ValueError if two runs have the same place in the table."""
        runs = [(r.label, count, seed) for r in self.rows for seed, count, _ in r.runs()]
        if twice := [run for run in runs if runs.count(run) > 1]:
            label, count, seed = twice[0]
            raise ValueError(
                f"{label!r} with {count} demonstrations and seed {seed} is there twice; set name"
            )


def read(path: Path) -> Curves:
    """Return the content of a TOML file. Raises an error of cattrs for unknown keys."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    found = cattrs.Converter(forbid_extra_keys=True).structure(content, Curves)
    rows = tuple(
        attrs.evolve(row, aligner=path.parent / row.aligner if row.aligner else None)
        for row in found.rows
    )
    return attrs.evolve(
        found, spec=path.parent / found.spec, out=path.parent / found.out, rows=rows
    )


def aligner_options(spec: Path, seed: int, root: Path) -> list[str]:
    """Train the aligner of a spec, and return the changes of another spec that use it."""
    run = run_spec(spec, root, "--set", f"seed={seed}", command="align")
    name = f"{run.parent.name}@{run.name}"
    return ["collect.scenes=0", "extract.keep=aligned", f"extract.aligner={name}"]


def measure(curves: Curves, root: Path) -> OutcomesFile:
    """Run what is missing, and print the table after each run."""
    results = OutcomesFile(curves.out.with_suffix(".json"))
    for row in curves.rows:
        for seed, count, options in row.runs():
            values = ["act.videos=0", *curves.set, *options]
            if row.aligner:
                values += aligner_options(row.aligner, seed, root)
            run = run_spec(curves.spec, root, *(part for v in values for part in ("--set", v)))
            results.add(outcomes_of(run, root, row.label, count, seed))
            found = results.outcomes
            print(table(found, sorted({o.condition for o in found}), "demonstrations"), flush=True)
    return results


def main() -> None:
    """Measure and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", type=Path, help="TOML file")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the runs [runs]")
    given = parser.parse_args()
    curves = read(given.curves)
    found = measure(curves, given.root).outcomes
    names = dict.fromkeys(row.label for row in curves.rows)
    plot(
        found,
        [name for name in names if len({o.at for o in found if o.condition == name}) > 1],
        lambda part: part[0].at,
        curves.out.with_suffix(".svg"),
        title=f"{curves.title}, unseen seeds",
        xlabel="demonstrations",
        xscale="log",
    )


if __name__ == "__main__":
    main()
