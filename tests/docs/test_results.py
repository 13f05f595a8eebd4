"""The tables of ablations follow from the outcomes of each seed."""

from __future__ import annotations

import json
import math
import re
import statistics
import tomllib
from pathlib import Path
from typing import Any

import benchmark_modules
import pytest

from rgb2act_core.evaluation.success_rate import wilson

DOCS = Path(__file__).parents[2] / "docs"
CURVES = DOCS.parent / "benchmarks" / "curves"
STUDENT = 4.303  # 97.5 % quantile of Student's t with 2 degrees of freedom: three seeds
SPECS = {  # in ablations.json, by the row's name
    "aligned": "lift_distractors",
    "lift_distractors": "lift_distractors",
    "mixture of experts": "align_moe",
    "sigmoid loss instead of InfoNCE": "align_sigmoid",
    "InfoNCE without MSE": "align_infonce",
    "windows of 4 frames": "align_window",
    "token dropout 0.1": "align_token_drop",
    "feature noise 0.2": "align_noise",
    "backbone dropout 0.2": "align_backbone_drop",
    "one backbone": "align_patchstats",
}


def table(title: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the heads of a section's table, and the cells of each row by its name."""
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    section = page.partition(f"## Ablations: {title}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    heads, _, *rows = (line.split(" | ") for line in lines)
    return heads, {row[0].strip("`"): row for row in rows}


def outcomes(name: str) -> list[dict[str, Any]]:
    """Return the outcome of each seed with episodes."""
    found = json.loads((DOCS / "ablations.json").read_text(encoding="utf-8"))
    spec = SPECS.get(name, f"condition_{name}")
    return [each for each in found if each["spec"] == spec and each["episodes"]]


def expected(head: str, found: list[dict[str, Any]]) -> str:
    """Return what the table has below a head."""
    successes, episodes = (sum(one[key] for one in found) for key in ("successes", "episodes"))
    if head == "training, CPU s":
        return f"{statistics.fmean(one['cpu_seconds'] for one in found):.0f}"
    if head == "success, each seed":
        return ", ".join(f"{one['successes'] / one['episodes']:.2f}" for one in found)
    if head == "all":
        return f"{successes / episodes:.2f}"
    if head == "95 % interval":
        return "{:.2f} to {:.2f}".format(*wilson(successes, episodes))
    values = [one["measures"][head] for one in found]
    half = STUDENT * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3g} ± {half:.2g}"


@pytest.mark.parametrize(("title", "rows"), [("conditions", 8), ("alignment", 9)])
def test_tables_of_ablations_are_those_of_the_outcomes(title: str, rows: int) -> None:
    heads, found = table(title)
    assert len(found) == rows
    for name, cells in found.items():
        seeds = outcomes(name)
        assert [one["seed"] for one in seeds] == [0, 1, 2], name
        assert cells[1:] == [expected(head, seeds) for head in heads[1:]], name


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("results", None),
        ("demonstrations", "demonstrations"),
        ("demonstrations_shape", "demonstrations"),
        ("demonstrations_transfer", "demonstrations"),
    ],
)
def test_tables_of_conditions_are_those_of_the_outcomes(name: str, heading: str | None) -> None:
    outcomes = benchmark_modules.load("outcomes")
    found = outcomes.OutcomesFile(DOCS / f"{name}.json").outcomes
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    rows = {" ".join(line.replace("`", "").split()) for line in page.splitlines()}
    for condition in {one.condition for one in found}:
        for line in outcomes.table(found, [condition], heading).splitlines()[2:]:
            assert line in rows


@pytest.mark.parametrize("path", sorted(CURVES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_outcomes_of_a_curve_are_those_that_its_file_asks_for(path: Path) -> None:
    curve = tomllib.loads(path.read_text(encoding="utf-8"))
    found = json.loads((CURVES / f"{curve['out']}.json").read_text(encoding="utf-8"))
    asked = [
        (row.get("name", row["condition"]), count, seed)
        for row in curve["rows"]
        for count in row["counts"]
        for seed in row["seeds"]
    ]
    assert sorted((one["condition"], one["at"], one["seed"]) for one in found) == sorted(asked)


def test_the_table_of_the_quickstart_is_part_of_the_curve() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    quickstart, _, rest = page.partition("### Against the number of demonstrations\n")
    rows = re.findall(r"^\| `.*\|$", quickstart, re.MULTILINE)
    assert len(rows) == 7
    assert set(rows) <= set(rest.partition("\n### ")[0].splitlines())
