"""``rgb2act doctor SPEC``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..plugins.arguments import add_json, add_spec
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..interfaces import Diagnostic

    Row = tuple[str, Diagnostic]


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``doctor``."""
    yield Command(
        name="doctor",
        summary="list what a spec needs on this machine, and how to fix what is missing",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the spec and ``--json``."""
    add_spec(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List what a spec needs; exit code 1 if anything is missing."""
    import attrs

    from ..pipeline.diagnosis import diagnose
    from ..pipeline.find_spec import given_spec

    found = list(diagnose(given_spec(args, files=False).spec))
    if args.json:
        print(json.dumps([{"part": part} | attrs.asdict(d) for part, d in found], indent=1))
    else:
        _show(found)
    return int(not all(diagnostic.ok for _, diagnostic in found))


def _show(found: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("", "part", "needs", "found", box=None, pad_edge=False)
    for part, diagnostic in found:
        mark = Text("ok", "green") if diagnostic.ok else Text("missing", "bold red")
        table.add_row(mark, Text(part), Text(diagnostic.name), Text(diagnostic.detail))
    console.print(table)
    missing = [row for row in found if not row[1].ok]
    for part, diagnostic in missing:
        line = f"{part}: {diagnostic.name}: {diagnostic.remedy}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    count = len(found)
    message = (
        f"{len(missing)} of {count} requirements missing"
        if missing
        else f"all {count} requirements met"
    )
    console.print(message, highlight=False)
