"""Overview of a run: subtitle, boxes with the main numbers, stages and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ..evaluation.success_rate import wilson
from ..interfaces import Severity
from ..spec.conditions import CONDITIONS
from ..spec.differences import without_defaults
from ..store.run_file import RunFile
from ..store.stage_id import Stage, StageId
from ..system.formatting import format_bytes
from .blocks import (
    Block,
    Cell,
    Fact,
    Folded,
    Paragraph,
    Preformatted,
    Styled,
    Table,
    guarded,
    note,
)
from .episodes import count_successes
from .formats import duration, number, percent, toml
from .stage_results import Stages

KEY_DIGITS = 12  # shown of a stage's key


def subtitle(record: RunFile) -> str:
    """Return the version and the date of a run."""
    return f"rgb2act {record.version}, {record.created}"


def notes(record: RunFile, stages: Stages) -> list[Paragraph]:
    """Return notes about missing and damaged stages."""
    policy = record.spec.get("policy")
    aligned = not isinstance(policy, dict) or _aligner_is_trained(policy)
    wanted = (Stage.ALIGN, Stage.TRAIN, Stage.ACT) if aligned else (Stage.TRAIN, Stage.ACT)
    missing = [stage for stage in wanted if StageId(stage) not in stages]
    found = []
    if missing:
        found.append(note(f"This run has not finished: {', '.join(missing)} did not run yet."))
    return found + [note(f"{s.id}: {s.problem}") for s in stages.values() if s.problem]


def facts(stages: Stages) -> list[Fact | Paragraph]:
    """Return the boxes with the main numbers; a damaged file's box becomes a note."""
    boxes: list[Fact | Paragraph] = []
    for build in (_success, _retrieval, _times):
        boxes += guarded(partial(build, stages))
    return boxes


def _success(stages: Stages) -> Iterator[Fact]:
    act = stages.get(StageId(Stage.ACT))
    if act is None or act.problem:
        yield Fact("-", "success rate: the policy was not evaluated", main=True)
        return
    successes, n = count_successes(act)
    low, high = wilson(successes, n)
    interval = f"95 % interval {percent(low)} to {percent(high)}"
    text = f"success rate, {interval}; {successes} of {n} seeds"
    yield Fact(percent(successes / n) if n else "-", text, main=True)


def _retrieval(stages: Stages) -> Iterator[Fact]:
    align = stages.get(StageId(Stage.ALIGN))
    if align is not None and not align.problem:
        before, after = (align.results[when]["retrieval@1"] for when in ("before", "after"))
        yield Fact(
            percent(after), f"retrieval@1 on held-out frames, {percent(before)} before training"
        )


def _times(stages: Stages) -> Iterator[Fact]:
    seconds = sum(stage.record.seconds for stage in stages.values())
    cpu_seconds = sum(stage.record.cpu_seconds for stage in stages.values())
    cached = sum(stage.record.cached for stage in stages.values())
    text = f"wall time of {len(stages)} stages when they ran; {cached} were cached this time"
    yield Fact(duration(seconds), text)
    yield Fact(duration(cpu_seconds), "CPU time of these stages")


def stage_table(stages: Stages) -> Iterator[Block]:
    """Yield a table of the stages: whether and why they ran, and how long that took."""
    rows = [
        [
            str(stage.id),
            "cached" if stage.record.cached else "ran",
            stage.record.reason,
            duration(stage.record.seconds),
            duration(stage.record.cpu_seconds),
            "-" if stage.peak_memory is None else format_bytes(stage.peak_memory),
            "-" if stage.parameters is None else number(stage.parameters),
            Styled(stage.record.key[:KEY_DIGITS], "code"),
        ]
        for stage in stages.values()
    ]
    headings = ("stage", "", "reason", "#wall time", "#CPU time", "#peak memory", "#parameters")
    yield Table((*headings, "key"), rows)
    yield Paragraph(
        "Peak memory is that of the main process until the stage ended, without its simulators."
        " Parameters are all numbers of the saved model: those of a policy include its aligner."
    )


def findings(record: RunFile) -> Iterator[Block]:
    """Yield a table of what the checks of the demonstrations found."""
    rows: list[list[Cell]] = [
        [
            Styled(str(found.severity), "muted" if found.severity is Severity.NOTE else "bad"),
            found.rule,
            found.source,
            "" if found.frame is None else str(found.frame),
            found.problem,
            str(found.others),
            found.remedy,
        ]
        for found in record.findings
    ]
    headings = ("", "rule", "where", "#frame", "problem", "#other episodes", "remedy")
    yield Table(headings, rows)


def versions(record: RunFile) -> Iterator[Block]:
    """Yield a table of the machine and of the versions that the run used."""
    found = {"rgb2act": record.version, **record.environment}
    yield Table(("", ""), [[str(name), str(version)] for name, version in found.items()])


def spec(record: RunFile) -> Iterator[Block]:
    """Yield the keys of the spec that differ from the defaults, and all keys folded."""
    yield Preformatted(toml(without_defaults(record.spec)))
    yield Folded("All keys, with the defaults", [Preformatted(toml(record.spec))])


def _aligner_is_trained(policy: Mapping[str, Any]) -> bool:
    condition = CONDITIONS.get(str(policy.get("condition")))
    return condition is None or condition.needs_alignment
