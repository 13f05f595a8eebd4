"""``rgb2act check SPEC``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..plugins.arguments import add_json, add_root, add_spec
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json

if TYPE_CHECKING:
    from ..pipeline.forecast import Forecast
    from ..pipeline.status import CheckResult
    from ..store.stage_id import StageId


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``check``."""
    yield Command(
        name="check",
        summary="validate a spec, list cached stages, and estimate the disk space and time needed",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the spec, ``--root``, ``--json`` and ``--no-time``."""
    add_spec(parser)
    add_root(parser)
    add_json(parser)
    parser.add_argument(
        "--no-time",
        dest="timed",
        action="store_false",
        help="do not measure the speed of stages that have not run on this machine",
    )


def run(args: argparse.Namespace) -> int:
    """Check a spec and print the state and the estimated cost of each stage."""
    from ..pipeline.find_spec import given_spec

    source = given_spec(args)
    from ..pipeline.status import check  # torch is imported only for a valid spec

    with source.places.located():
        result = check(source.spec, Path(args.root), args.timed)
    if args.json:
        print_json("check", result.to_json())
    else:
        _show(result)
    return 0


def _show(result: CheckResult) -> None:
    from ..system.formatting import format_bytes

    rows = [_row(stage) for stage in result.stages]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    for stage in result.stages:
        if stage.basis:
            print(f"  {stage.status.id}: {stage.basis}")
    print(
        f"disk: {format_bytes(result.bytes_needed)} needed{_unknown(result.unknown_bytes)};"
        f" {format_bytes(result.bytes_free)} free"
    )
    if result.kept:
        print(
            f"features: {format_bytes(result.kept.tokens)} with extract.keep = 'tokens',"
            f" {format_bytes(result.kept.aligned)} with 'aligned'"
        )
    print(f"time: {_time(result)}")
    if memory := max((stage.memory or 0 for stage in result.stages), default=0):
        print(f"memory: {format_bytes(memory)} at peak{_kept_tokens(result)}")
    for finding in result.findings:
        print(f"data {finding.severity}: {finding}")


def _kept_tokens(result: CheckResult) -> str:
    """Return what alignment keeps in memory in addition, if it has to run."""
    from ..store.stage_id import Stage
    from ..system.formatting import format_bytes

    aligns = any(
        stage.status.id.stage is Stage.ALIGN and stage.status.state.pending
        for stage in result.stages
    )
    if not aligns or result.kept is None:
        return ""
    return f", and up to {format_bytes(result.kept.tokens)} for all tokens if they fit"


def _row(stage: Forecast) -> tuple[str, ...]:
    from ..system.formatting import format_bytes, format_duration

    status = stage.status
    if not status.state.pending:
        return str(status.id), str(status), "", ""
    return (
        str(status.id),
        str(status),
        "size unknown" if stage.bytes is None else format_bytes(stage.bytes),
        "time unknown" if stage.seconds is None else format_duration(stage.seconds),
    )


def _time(result: CheckResult) -> str:
    from ..system.formatting import format_duration

    if result.unknown_seconds and not result.seconds_needed:
        return "unknown"
    return f"{format_duration(result.seconds_needed)} needed{_unknown(result.unknown_seconds)}"


def _unknown(stages: Sequence[StageId]) -> str:
    return f", unknown for {', '.join(map(str, stages))}" if stages else ""
