"""Run ablations over several training seeds and write what they came to into docs/results.md.

Each spec is run as it stands but for its seed, its training steps (``--scale``) and its episodes.
What the store holds is not run again, so a call that was stopped goes on. Outcomes gather in
ablations.json; the table of the specs given replaces the section of the results between
``<!-- ablations: TITLE -->`` and ``<!-- end -->``, at the end of the page if there is none yet.

    python benchmarks/ablate.py examples/quickstart.toml examples/ablations/align_*.toml \\
        --title alignment --scale 0.25 --episodes 50 --root runs

With ``--episodes 0`` nothing acts: the aligners are compared by their measures alone.
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

from rgb2act_core.evaluation.success_rate import wilson
from rgb2act_core.store.stage_id import Stage, StageId

DOCS = Path(__file__).parents[1] / "docs"
MEASURES = ("retrieval@1/pool", "probe/cube", "probe/joints", "cosine")
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 95 %, by the number of seeds


@attrs.frozen
class Outcome:
    """Hold what one policy came to: its training, its aligner's measures, its success."""

    spec: str  # file without its ending; a baseline behind a slash
    scale: float
    seed: int
    cpu_seconds: float  # alignment and policy
    measures: dict[str, float]  # of the aligner on held-out frames
    successes: int
    episodes: int

    @property
    def key(self) -> tuple[str, float, int, int]:
        """Return what an outcome is replaced by."""
        return self.spec, self.scale, self.seed, self.episodes


def spec_for(base: dict[str, Any], scale: float, seed: int, episodes: int) -> dict[str, Any]:
    """Return a spec with its training scaled, another seed and so many episodes."""
    spec: dict[str, Any] = json.loads(json.dumps(base))
    spec["name"], spec["seed"] = f"{base['name']}-x{scale:g}-seed{seed}", seed
    for stage in ("align", "policy"):
        spec[stage]["steps"] = max(round(base[stage]["steps"] * scale), 1)
    spec["act"] = spec.get("act", {}) | {"episodes": max(episodes, 1), "videos": 0}
    spec["compute"] = spec.get("compute", {}) | {"simulator_workers": 1, "threads": 1}
    return spec


def run(path: Path, root: Path, scale: float, seed: int, episodes: int) -> list[Outcome]:
    """Run one spec through the command line and return what it and its baselines came to."""
    spec = spec_for(tomllib.loads(path.read_text(encoding="utf-8")), scale, seed, episodes)
    place = root / "specs" / f"{spec['name']}.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(tomli_w.dumps(spec), encoding="utf-8")
    until = "run" if episodes else "align"
    command = [sys.executable, "-m", "rgb2act_core", until, str(place), "--root", str(root)]
    subprocess.run(command, check=True, env=os.environ | {"RGB2ACT_QUIET": "1"})
    results = results_of(root, spec["name"])
    if not episodes:
        return [aligned(results["align"], path.stem, scale, seed)]
    return list(outcomes(results, path.stem, scale, seed))


def results_of(root: Path, name: str) -> dict[str, Any]:
    """Return the results of a run's stages from alignment on."""
    stages = json.loads((root / name / "run.json").read_text(encoding="utf-8"))["stages"]
    return {
        s["stage"]: json.loads((root / s["path"] / "stage.json").read_text("utf-8"))["results"]
        for s in stages
        if StageId.parse(s["stage"]).stage in (Stage.ALIGN, Stage.TRAIN, Stage.ACT)
    }


def aligned(align: dict[str, Any], stem: str, scale: float, seed: int) -> Outcome:
    """Return what an aligner alone came to."""
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
    """Yield what each policy of a finished run came to."""
    for stage, act in results.items():
        id = StageId.parse(stage)
        if id.stage is not Stage.ACT:
            continue
        baseline = id.variant
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
    """Return a mean over seeds and the half width of its 95 % interval (Student's t)."""
    if not values:
        return "-"
    mean = statistics.fmean(values)
    if len(values) not in STUDENT:
        return f"{mean:.3g}"
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3g} ± {half:.2g}"


def table(found: Sequence[Outcome], measures: Sequence[str]) -> str:
    """Return a Markdown table: a row a spec, seeds joined."""
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
    """Return the success of each seed, of all, and its interval."""
    successes, episodes = sum(o.successes for o in part), sum(o.episodes for o in part)
    low, high = wilson(successes, episodes)
    each = ", ".join(f"{o.successes / o.episodes:.2f}" for o in part)
    return each, f"{successes / episodes:.2f}", f"{low:.2f} to {high:.2f}"


def section(page: str, title: str, content: str) -> str:
    """Return a page with the content between the title's marks, which are made if need be."""
    begin, end = f"<!-- ablations: {title} -->", "<!-- end -->"
    new = f"{begin}\n{content}{end}\n"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: new, page, count=1)
    return f"{page.rstrip()}\n\n## Ablations: {title}\n\n{new}"


def told(options: argparse.Namespace, found: Sequence[Outcome]) -> str:
    """Return the table and the words above it."""
    seeds = ", ".join(map(str, sorted({o.seed for o in found})))
    acted = (
        f"; {options.episodes} episodes each. Success has Wilson's 95 %\ninterval over all episodes"
    )
    return (
        f"Training steps at {options.scale:g} of each spec's, training seeds {seeds}"
        f"{acted if options.episodes else ''}. A measure of the\naligner on held-out frames is its"
        " mean over seeds with the half width of Student's 95 % interval.\n\n"
        f"{table(found, options.measures)}"
    )


def main() -> None:
    """Run all and write outcomes and table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", type=Path, nargs="+", help="spec files")
    parser.add_argument("--title", required=True, help="of the section of results.md")
    parser.add_argument("--root", type=Path, default=Path("runs"))
    parser.add_argument("--scale", type=float, default=1.0, help="of the training steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=100, help="0 stops after alignment")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="runs at a time")
    parser.add_argument("--measures", nargs="*", default=list(MEASURES))
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of results.md")
    options = parser.parse_args()
    place, page = options.out / "ablations.json", options.out / "results.md"
    order = {path.stem: number for number, path in enumerate(options.specs)}

    def keep(new: list[Outcome]) -> None:
        """Add outcomes; another call may have added others meanwhile."""
        before = json.loads(place.read_text(encoding="utf-8")) if place.exists() else []
        all_of_them = {o.key: o for o in (*(Outcome(**o) for o in before), *new)}
        found = [attrs.asdict(o) for o in all_of_them.values()]
        place.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        asked = [
            o
            for o in all_of_them.values()
            if o.spec.partition("/")[0] in order
            and (o.scale, o.episodes) == (options.scale, options.episodes)
            and o.seed in options.seeds
        ]
        asked.sort(key=lambda o: (order[o.spec.partition("/")[0]], "/" in o.spec, o.spec))
        old = page.read_text(encoding="utf-8") if page.exists() else "# Results\n"
        page.write_text(section(old, options.title, told(options, asked)), encoding="utf-8")
        print(table(asked, options.measures), flush=True)

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
