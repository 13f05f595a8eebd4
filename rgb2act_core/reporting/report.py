"""Tell a run on one HTML page that needs nothing else: no other file, no network, no script.

What a file of the run cannot tell, a note on the page says; only a run without a readable
``run.json`` has no page. Paths in ``run.json`` are relative to the folder of all runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import attrs

from ..errors import UserError
from ..evaluation.success_rate import wilson
from ..spec.conditions import ALIGNED
from ..store.files import guard, read_json
from ..training import metrics_log
from . import charts, episodes, feature_maps, tasks
from .html import duration, fact, guarded, muted, note, number, percent, section, table, toml

TEMPLATE = Path(__file__).with_name("report.html")
_HIGHER, _LOWER = ("retrieval@", "cosine", "r2"), ("probe/",)


@attrs.frozen(kw_only=True)
class Stage:
    """Hold what is known of one stage of a run."""

    name: str
    folder: Path
    listed: Mapping[str, Any]  # its entry in run.json
    results: Mapping[str, Any]
    problem: str = ""  # why there are no results


def write(run: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises UserError when ``run.json`` is missing or damaged.
    """
    facts = _facts(run)
    stages = {s["stage"]: _stage(run, s) for s in facts["stages"]}
    body = _head(facts, stages) + "".join(_sections(run, facts, stages))
    page, title = Template(TEMPLATE.read_text(encoding="utf-8")), f"{facts['name']} - rgb2act run"
    report = run / "report.html"
    part = run / f".report.html.{os.getpid()}.part"
    with guard(report):
        part.write_text(page.substitute(title=escape(title), body=body), encoding="utf-8")
        part.replace(report)  # atomic: a reader sees the old page or the new one
    return report


def _facts(run: Path) -> dict[str, Any]:
    place = run / "run.json"
    facts = read_json(place)
    for key, kind in (("name", str), ("stages", list), ("spec", dict)):
        if not isinstance(facts.get(key), kind):
            raise UserError(f"{place}: {key} is missing or damaged; delete it and run again")
    for stage in facts["stages"]:
        if not isinstance(stage, dict) or not isinstance(stage.get("stage"), str):
            raise UserError(f"{place}: stage {stage!r} has no name; delete it and run again")
    return facts


def _stage(run: Path, listed: Mapping[str, Any]) -> Stage:
    name, folder = listed["stage"], run.parent / str(listed.get("path", ""))
    if name.partition("/")[0] not in ("align", "train", "act"):
        return Stage(name=name, folder=folder, listed=listed, results={})
    try:
        results = read_json(folder / "stage.json").get("results")
    except UserError as err:
        return Stage(name=name, folder=folder, listed=listed, results={}, problem=str(err))
    results = results if isinstance(results, dict) else {}
    return Stage(name=name, folder=folder, listed=listed, results=results)


def _head(facts: Mapping[str, Any], stages: Mapping[str, Stage]) -> str:
    made = f"rgb2act {facts.get('version', '?')}, {facts.get('created', 'at an unknown time')}"
    head = f'<header><h1>{escape(facts["name"])}</h1><p class="muted">{escape(made)}</p>'
    policy = facts["spec"].get("policy")
    aligned = not isinstance(policy, dict) or policy.get("condition") in (None, *ALIGNED)
    wanted = ["align", "train", "act"] if aligned else ["train", "act"]
    if absent := [name for name in wanted if name not in stages]:
        head += note(f"This run has not finished: there is no {' and no '.join(absent)} stage yet.")
    head += "".join(note(f"{s.name}: {s.problem}") for s in stages.values() if s.problem)
    boxes = "".join(guarded(box) for box in (lambda: _success(stages), lambda: _boxes(stages)))
    return f'{head}</header><div class="facts">{boxes}</div>'


def _success(stages: Mapping[str, Stage]) -> str:
    act = stages.get("act")
    if act is None or act.problem:
        return fact("-", "success rate: the policy has not acted", main=True)
    wins, n = _tally(act)
    low, high = wilson(wins, n)
    text = f"success, 95 % interval {percent(low)} to {percent(high)}; {wins} of {n} seeds"
    return fact(percent(wins / n) if n else "-", text, main=True)


def _boxes(stages: Mapping[str, Stage]) -> str:
    boxes = []
    if (align := stages.get("align")) and not align.problem:
        before, after = (align.results[when]["retrieval@1"] for when in ("before", "after"))
        text = f"retrieval@1 on held-out frames, {percent(before)} before alignment"
        boxes.append(fact(percent(after), text))
    seconds, cpu = (
        sum(float(s.listed.get(key) or 0) for s in stages.values())
        for key in ("seconds", "cpu_seconds")
    )
    cached = sum(bool(s.listed.get("cached")) for s in stages.values())
    text = f"for {len(stages)} stages, each when it ran; {cached} were cached this time"
    boxes.append(fact(duration(seconds), text))
    boxes.append(fact(duration(cpu), "CPU time of these"))
    return "".join(boxes)


def _sections(run: Path, facts: Mapping[str, Any], stages: Mapping[str, Stage]) -> Iterable[str]:
    acts = [s for n, s in stages.items() if n.partition("/")[0] == "act" and not s.problem]
    learnt = [s for n, s in stages.items() if n.partition("/")[0] in ("align", "train")]
    align = stages.get("align")
    if acts:
        yield section("Success", lambda: _comparison(acts, stages))
    results = {name: stage.results for name, stage in stages.items()}
    if any(found.get("tasks") for found in results.values()):
        yield section("Tasks", lambda: tasks.show(results))
    if acts:
        yield section("Rollouts", lambda: _each(acts, _films))
    if align and not align.problem:
        yield section("Alignment", lambda: _measures(align) + guarded(partial(_fusion, align)))
    if learnt:
        yield section("Learning curves", lambda: _each(learnt, _curves))
    if facts.get("pictures"):
        yield section("Features", lambda: feature_maps.show(run.parent, facts["pictures"]))
    if acts:
        yield section("Episodes", lambda: _each(acts, _episodes))
    yield section("Stages", lambda: _stage_table(stages))
    yield section("Versions", lambda: _versions(facts))
    yield section("Spec", lambda: f"<pre>{escape(toml(facts['spec']))}</pre>")


def _comparison(acts: Sequence[Stage], stages: Mapping[str, Stage]) -> str:
    def row(act: Stage) -> list[str]:
        wins, n = _tally(act)
        low, high = wilson(wins, n)
        trained = stages.get(act.name.replace("act", "train", 1))
        return [
            escape(act.name.partition("/")[2] or "policy of this run"),
            f"<b>{percent(wins / n) if n else '-'}</b>",
            charts.bar(wins / n if n else 0.0, (low, high), act.name == "act"),
            f"{percent(low)} to {percent(high)}",
            f"{wins} of {n}",
            duration(trained.results.get("cpu_seconds") if trained else None),
        ]

    headings = ("policy", "#success", "", "#95 % interval", "#seeds", "#training, CPU time")
    return table(headings, map(row, acts))


def _films(act: Stage) -> str:
    return episodes.films(act.folder, act.results)


def _episodes(act: Stage) -> str:
    whole = (
        episodes.episodes(act.results),
        episodes.rejected(act.results),
        guarded(lambda: episodes.lost(act.folder)),
    )
    return "".join(whole)


def _measures(align: Stage) -> str:
    before, after = align.results["before"], align.results["after"]
    pooled, counts = align.results.get("pooled", {}), align.results.get("episodes", {})

    def row(name: str) -> list[str]:
        old, new = before.get(name), after[name]
        sign = 1 if name.startswith(_HIGHER) else -1 if name.startswith(_LOWER) else 0
        gain = 0 if old is None else sign * (new - old)
        style = "yes" if gain > 0 else "no" if gain < 0 else ""
        aim = {1: "higher is better", -1: "RMSE, lower is better", 0: ""}[sign]
        return [
            escape(name),
            number(pooled[name]) if name in pooled else "",
            number(old),
            f'<span class="{style}">{number(new)}</span>',
            f'<span class="muted">{aim}</span>',
        ]

    whose = "held-out" if counts.get("held_out", 1) else "training"
    headings = (f"{whose} frames", "#pooled features", "#before", "#after", "")
    text = ", ".join(f"{count} {str(name).replace('_', ' ')}" for name, count in counts.items())
    told = muted(f"Episodes: {text}." if text else "") + guarded(partial(_taken, align))
    return table(headings, map(row, after)) + told


def _taken(align: Stage) -> str:
    measured, waiting = align.results.get("measured"), align.results.get("waiting")
    texts = []
    if measured:
        texts.append(
            f"Retrieval is among all {int(measured['frames'])} frames, among those of an episode,"
            f" or in pools of {int(measured['pool'])} drawn from all. Pooled features are the"
            " backbones' means over patches, side by side."
        )
    if waiting is not None:
        rate = align.results["frames_per_second"]
        texts.append(f"{rate:,.0f} samples/s, {100 * waiting:.1f} % of it waiting for data.")
    return "".join(map(muted, texts))


def _fusion(align: Stage) -> str:
    shares = align.results.get("fusion", {})
    told = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    rows = metrics_log.read(align.folder / "metrics.jsonl")
    plot = _plot("Fusion weights over steps", rows, _named(rows, "weight/"), unit=True)
    text = muted(f"Share of each backbone at the end: {told}.") if told else ""
    return f'<h3>Fusion</h3>{text}<div class="charts">{plot}</div>' if told or plot else ""


def _curves(stage: Stage) -> str:
    rows = metrics_log.read(stage.folder / "metrics.jsonl")
    losses = [n for n in ("loss", "mse", "infonce", "val_loss", "val/loss") if _named(rows, n)]
    rates = [n for n in _named(rows, "val/") if n.startswith("val/retrieval")]
    probes = [n for n in _named(rows, "val/") if n.startswith("val/probe")]
    told = ("val/weight", *rates, *probes, *losses)  # weights have a plot beside the table
    rest = [n for n in _named(rows, "val/") if not n.startswith(told)]
    plots = [
        _plot("Loss", rows, losses, log=True),
        _plot("Success in trials", rows, _named(rows, "act/success"), unit=True),
        _plot("Retrieval, held out", rows, rates, unit=True),
        _plot("Probes, RMSE, held out", rows, probes, log=True),
        _plot("Other measures, held out", rows, rest),
        _plot("Gradient norm", rows, ["grad_norm"], log=True),
        _plot("Learning rate", rows, ["lr"]),
    ]
    return f'<div class="charts">{"".join(plots)}</div>'


def _plot(title: str, rows: Sequence[metrics_log.Row], names: Sequence[str], **how: bool) -> str:
    series = {
        name.removeprefix("weight/"): [(row["step"], row[name]) for row in rows if name in row]
        for name in names
    }
    return charts.chart(title, series, **how) if any(series.values()) else ""


def _named(rows: Sequence[metrics_log.Row], prefix: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row if name.startswith(prefix)))


def _stage_table(stages: Mapping[str, Stage]) -> str:
    rows = [
        [
            escape(stage.name),
            "cached" if stage.listed.get("cached") else "ran",
            escape(str(stage.listed.get("reason") or "")),
            duration(stage.listed.get("seconds")),
            duration(stage.listed.get("cpu_seconds")),
            f"<code>{escape(str(stage.listed.get('key', ''))[:12])}</code>",
        ]
        for stage in stages.values()
    ]
    return table(("stage", "", "reason", "#wall time", "#CPU time", "key"), rows)


def _versions(facts: Mapping[str, Any]) -> str:
    known = {"rgb2act": facts.get("version", "?"), **facts.get("environment", {})}
    return table(("", ""), [[escape(k), escape(str(v))] for k, v in known.items()])


def _tally(act: Stage) -> tuple[int, int]:
    outcomes = [episode["success"] for episode in act.results["episodes"]]
    return sum(outcome is True for outcome in outcomes), len(outcomes)


def _each(stages: Sequence[Stage], show: Callable[[Stage], str]) -> str:
    """Show the run's own stages openly and the baselines' folded."""

    def parts() -> Iterator[str]:
        for stage in stages:
            shown, name = guarded(partial(show, stage)), escape(stage.name)
            if "/" in stage.name:
                yield f"<details><summary>{name}</summary>{shown}</details>"
            else:
                yield f"<h3>{name}</h3>{shown}" if len(stages) > 1 else shown

    return "".join(parts())
