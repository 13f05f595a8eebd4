"""``rgb2act compare RUN...``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins.arguments import add_json, add_root
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..pipeline.comparison import Comparison

SCHEMA = "rgb2act.compare/1"
PAGE = "compare.html"  # in the folder of all runs


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``compare``."""
    yield Command(
        name="compare",
        summary="compare runs: their specs, their success on shared seeds, and learning curves",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs, the page, ``--root`` and ``--json``."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="name of a run, name@number, or its folder; the others are compared with the first"
        " [all finished runs]",
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"HTML page to write [{PAGE} in --root]"
    )
    add_root(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what differs between runs, and write a page with their curves."""
    from ..pipeline.find_run import find_run

    folders = [find_run(each, args.root) for each in args.runs] or _finished(Path(args.root))
    if len({folder.resolve() for folder in folders}) < 2:
        given = ", ".join(args.runs)
        if not given:
            raise UserError(f"{args.root}: has {len(folders)} finished runs, not two to compare")
        raise UserError(
            f"{given}: is one run; give two, such as {given.partition('@')[0]}@1, rgb2act runs"
            " lists them"
        )
    from ..pipeline.comparison import compare
    from ..pipeline.comparison_page import comparison_page
    from ..reporting.page import render_page
    from ..store.files import write_text

    found, page = compare(folders), args.page or Path(args.root) / PAGE
    write_text(page, render_page(comparison_page(found)), remedy="choose another with --page")
    if args.json:
        print(json.dumps({"schema": SCHEMA, **found.to_json(), "page": str(page)}))
        return 0
    _show(found)
    print(f"page: {page}", file=sys.stderr)
    return 0


def _finished(root: Path) -> list[Path]:
    """Return the folders of all finished runs."""
    from ..store.run_file import read_run_file
    from ..store.run_folders import all_runs

    found = []
    for folder in all_runs(root).values():
        with contextlib.suppress(UserError):
            if read_run_file(folder).finished:
                found.append(folder)
    return found


def _show(found: Comparison) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..pipeline.comparison_page import paired_cells
    from ..pipeline.spec_differences import shown
    from ..system.console import open_console

    specs = Table("key", *found.names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in found.differences:
        specs.add_row(Text(row.key), *(Text(shown(value)) for value in row.values))
    headings = ("run", "success", "95% interval", "episodes", "difference", "interval", "p")
    rates = Table(*headings, "shared", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, each, pair in zip(found.names, found.runs, (None, *found.paired), strict=True):
        paired = ["", "", "", ""] if each is found.runs[0] else paired_cells(pair)
        rate = ["-", "-", "-"]
        if success := each.success:
            interval = f"{success.low:.0%} to {success.high:.0%}"
            rate = [f"{success.rate:.0%}", interval, str(success.episodes)]
        rates.add_row(*map(Text, (name, *rate, *paired)))
    console = open_console()
    console.print(specs if found.differences else "the specs are equal")
    console.print()
    console.print(rates)
