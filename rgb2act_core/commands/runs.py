"""``rgb2act runs [NAME]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins.arguments import add_json, add_root
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..pipeline.run_summary import RunSummary

SCHEMA = "rgb2act.runs/1"
SHOWN_CHANGES = 3  # per run in the table


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``runs``."""
    yield Command(
        name="runs",
        summary="list runs: what their specs changed, their stages and their success",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name, ``--root`` and ``--json``."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only the runs of this name [all]")
    add_root(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table of runs, sorted by name and number."""
    from ..pipeline.find_run import near_run
    from ..pipeline.run_summary import summaries

    root = Path(args.root)
    found = summaries(root, args.name)
    if args.name and not found:
        raise UserError(f"{args.name}: no run has this name{near_run(args.name, root)}")
    if args.json:
        print(json.dumps({"schema": SCHEMA, "runs": [each.to_json() for each in found]}))
    elif found:
        _show(found)
    else:
        print(f"{root} has no runs")
    return 0


def _show(found: Sequence[RunSummary]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..system.console import open_console
    from ..system.formatting import format_bytes, format_duration

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("run", "when", "changed", "state", "success", "time", "size"):
        right = heading in ("time", "size")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for each in found:
        when = each.record.created[:16].replace("T", " ") if each.record else ""
        cells = (
            str(each.id),
            when,
            _changes(each),
            each.state if each.record else "unreadable",
            _success(each),
            format_duration(each.seconds),
            format_bytes(each.bytes),
        )
        table.add_row(*map(Text, cells))
    open_console().print(table)
    for each in found:
        if each.record is None:
            print(f"{each.id}: {each.state}", file=sys.stderr)


def _changes(each: RunSummary) -> str:
    lines = list(map(str, each.changes[:SHOWN_CHANGES]))
    if more := len(each.changes) - len(lines):
        lines.append(f"and {more} more")
    return "\n".join(lines)


def _success(each: RunSummary) -> str:
    found = each.success
    if found is None:
        return "-"
    return f"{found.rate:.0%} ({found.low:.0%} to {found.high:.0%}), {found.episodes} episodes"
