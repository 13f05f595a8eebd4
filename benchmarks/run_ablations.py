"""Run ablations over several training seeds and write their table to docs/results.md.

Each spec is run with another seed, scaled training steps (``--scale``) and ``--episodes``
evaluation episodes. Finished stages are reused from the store, so an interrupted call can be
repeated. Outcomes are collected in ablations.json. The table of the given specs replaces the
section of results.md between ``<!-- ablations: TITLE -->`` and ``<!-- end -->``, or is appended if
there is no such section.

    python benchmarks/run_ablations.py examples/quickstart.toml examples/ablations/align_*.toml \\
        --title alignment --scale 0.25 --episodes 50 --root runs

With ``--episodes 0`` no policy is trained: only the metrics of the aligners are compared.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from rgb2act_core import find_run
from rgb2act_core.evaluation.success_rate import wilson
from rgb2act_core.store.stage_id import Stage, StageId

RGB2ACT = (sys.executable, "-m", "rgb2act_core")
DOCS = Path(__file__).parents[1] / "docs"
MEASURES = ("retrieval@1/pool", "probe/cube", "probe/joints", "cosine")
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t at 95 %, by number of seeds


@attrs.frozen
class Outcome:
    """Training time, aligner metrics and success of one policy."""

    spec: str  # file name without suffix, followed by /BASELINE for a baseline
    scale: float
    seed: int
    cpu_seconds: float  # alignment and policy training
    measures: dict[str, float]  # metrics of the aligner on held-out frames
    successes: int
    episodes: int

    @property
    def key(self) -> tuple[str, float, int, int]:
        """Return the key that identifies the outcome; a newer outcome with this key replaces it."""
        return self.spec, self.scale, self.seed, self.episodes


def spec_for(base: dict[str, Any], scale: float, seed: int, episodes: int) -> dict[str, Any]:
    """Return the spec with scaled training steps, the given seed and number of episodes."""
    spec: dict[str, Any] = json.loads(json.dumps(base))
    spec["name"], spec["seed"] = f"{base['name']}-x{scale:g}-seed{seed}", seed
    for stage in ("align", "policy"):
        spec[stage]["steps"] = max(round(base[stage]["steps"] * scale), 1)
    spec["act"] = spec.get("act", {}) | {"episodes": max(episodes, 1), "videos": 0}
    spec["compute"] = spec.get("compute", {}) | {"simulator_workers": 1, "threads": 1}
    return spec


def run(path: Path, root: Path, scale: float, seed: int, episodes: int) -> list[Outcome]:
    """Run one spec through the command line and return the outcomes of it and its baselines."""
    spec = spec_for(tomllib.loads(path.read_text(encoding="utf-8")), scale, seed, episodes)
    spec_path = root / "specs" / f"{spec['name']}.toml"
    spec_path.parent.mkdir(parents=True, exist_ok=True)
    spec_path.write_text(tomli_w.dumps(spec), encoding="utf-8")
    until = "run" if episodes else "align"
    command = [*RGB2ACT, until, str(spec_path), "--root", str(root)]
    subprocess.run(command, check=True, env=os.environ | {"RGB2ACT_QUIET": "1"})
    results = results_of(root, spec["name"])
    if not episodes:
        return [aligned(results["align"], path.stem, scale, seed)]
    return list(outcomes(results, path.stem, scale, seed))


def results_of(root: Path, name: str) -> dict[str, Any]:
    """Return the results of a run's align, train and act stages by stage name."""
    stages = json.loads((find_run(name, root) / "run.json").read_text(encoding="utf-8"))["stages"]
    return {
        s["stage"]: json.loads((root / s["path"] / "stage.json").read_text("utf-8"))["results"]
        for s in stages
        if StageId.parse(s["stage"]).stage in (Stage.ALIGN, Stage.TRAIN, Stage.ACT)
    }


def aligned(align: dict[str, Any], stem: str, scale: float, seed: int) -> Outcome:
    """Return the outcome of a run that stops after alignment."""
    return Outcome(
        spec=stem,
        scale=scale,
        seed=seed,
        cpu_seconds=round(align["cpu_seconds"], 1),
        measures=align["after"],
        successes=0,
        episodes=0,
    )


def outcomes(results: dict[str, Any], stem: str, scale: float, seed: int) -> Iterator[Outcome]:
    """Yield the outcome of each policy of a finished run."""
    for stage, act in results.items():
        stage_id = StageId.parse(stage)
        if stage_id.stage is not Stage.ACT:
            continue
        baseline = stage_id.variant
        spent = results[str(StageId(Stage.TRAIN, baseline))]["cpu_seconds"]
        measures: dict[str, Any] = {}
        if not baseline and "align" in results:
            spent += results["align"]["cpu_seconds"]
            measures = results["align"]["after"]
        yield Outcome(
            spec="/".join(filter(None, (stem, baseline))),
            scale=scale,
            seed=seed,
            cpu_seconds=round(spent, 1),
            measures=measures,
            successes=act["successes"],
            episodes=len(act["episodes"]),
        )


def interval(values: Sequence[float]) -> str:
    """Return the mean over seeds with the half-width of its 95 % interval (Student's t)."""
    if not values:
        return "-"
    mean = statistics.fmean(values)
    if len(values) not in STUDENT:
        return f"{mean:.3g}"
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3g} ± {half:.2g}"


def table(found: Sequence[Outcome], measures: Sequence[str]) -> str:
    """Return a Markdown table with one row per spec, pooled over seeds."""
    acted = any(o.episodes for o in found)
    success = ("success, each seed", "all", "95 % interval") if acted else ()
    heads = ("spec", "training, CPU s", *success, *measures)
    rows = [heads, ("---",) * len(heads)]
    for spec in dict.fromkeys(o.spec for o in found):
        part = sorted((o for o in found if o.spec == spec), key=lambda o: o.seed)
        rows.append(
            (
                f"`{spec}`",
                f"{statistics.fmean(o.cpu_seconds for o in part):.0f}",
                *(rates(part) if acted else ()),
                *(interval([o.measures[m] for o in part if m in o.measures]) for m in measures),
            )
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def rates(part: Sequence[Outcome]) -> tuple[str, str, str]:
    """Return the success rate of each seed, of all episodes, and its 95 % interval."""
    successes, episodes = sum(o.successes for o in part), sum(o.episodes for o in part)
    low, high = wilson(successes, episodes)
    each = ", ".join(f"{o.successes / o.episodes:.2f}" for o in part)
    return each, f"{successes / episodes:.2f}", f"{low:.2f} to {high:.2f}"


def section(page: str, title: str, content: str) -> str:
    """Return the page with the content of the titled section replaced or a new section appended."""
    begin, end = f"<!-- ablations: {title} -->", "<!-- end -->"
    new = f"{begin}\n{content}{end}\n"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: new, page, count=1)
    return f"{page.rstrip()}\n\n## Ablations: {title}\n\n{new}"


def described(options: argparse.Namespace, found: Sequence[Outcome]) -> str:
    """Return the table and the paragraph above it."""
    seeds = ", ".join(map(str, sorted({o.seed for o in found})))
    acted = (
        f"; {options.episodes} episodes each. The 95 % interval of the success\n"
        "rate is Wilson's over all episodes"
    )
    return (
        f"Training steps scaled by {options.scale:g}, training seeds {seeds}"
        f"{acted if options.episodes else ''}. Metrics of the\naligner on held-out frames are"
        " means over seeds with the half-width of Student's 95 % interval.\n\n"
        f"{table(found, options.measures)}"
    )


def main() -> None:
    """Run all specs and write the outcomes and the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", type=Path, nargs="+", help="run specs")
    parser.add_argument("--title", required=True, help="title of the section of results.md")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the training steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument("--episodes", type=int, default=100, help="0 stops after alignment")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="parallel runs")
    parser.add_argument("--measures", nargs="*", default=list(MEASURES), help="columns")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of results.md")
    options = parser.parse_args()
    outcomes_path, page = options.out / "ablations.json", options.out / "results.md"
    order = {path.stem: number for number, path in enumerate(options.specs)}

    def keep(new: list[Outcome]) -> None:
        """Add outcomes to the file, which another process may have extended meanwhile."""
        exists = outcomes_path.exists()
        before = json.loads(outcomes_path.read_text(encoding="utf-8")) if exists else []
        merged = {o.key: o for o in (*(Outcome(**o) for o in before), *new)}
        found = [attrs.asdict(o) for o in merged.values()]
        outcomes_path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        selected = [
            o
            for o in merged.values()
            if o.spec.partition("/")[0] in order
            and (o.scale, o.episodes) == (options.scale, options.episodes)
            and o.seed in options.seeds
        ]
        selected.sort(key=lambda o: (order[o.spec.partition("/")[0]], "/" in o.spec, o.spec))
        old = page.read_text(encoding="utf-8") if page.exists() else "# Results\n"
        page.write_text(section(old, options.title, described(options, selected)), encoding="utf-8")
        print(table(selected, options.measures), flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        todo = [
            pool.submit(run, path, options.root, options.scale, seed, options.episodes)
            for seed in options.seeds
            for path in options.specs
        ]
        for done in concurrent.futures.as_completed(todo):
            keep(done.result())


if __name__ == "__main__":
    main()
