"""``rgb2act doctor SPEC``."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..plugins.arguments import add_json, add_root, add_spec
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json

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
    """Add the spec, ``--root`` and ``--json``."""
    add_spec(parser)
    add_root(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List what a spec needs; exit code 1 if anything is missing."""
    import attrs

    from ..pipeline.diagnosis import diagnose
    from ..pipeline.find_spec import given_spec

    spec, root = given_spec(args, files=False).spec, Path(args.root)
    named = shlex.quote(args.spec)
    found = [(part, of_spec(each, named)) for part, each in diagnose(spec, root)]
    if args.json:
        rows = [{"part": part} | attrs.asdict(d) for part, d in found]
        print_json("doctor", {"requirements": rows})
    else:
        _show(found)
    return int(not all(diagnostic.ok for _, diagnostic in found))


def of_spec(diagnostic: Diagnostic, spec: str) -> Diagnostic:
    """Return a diagnostic whose remedy names the spec in place of ``SPEC``."""
    import attrs

    return attrs.evolve(diagnostic, remedy=re.sub(r"\bSPEC\b", spec, diagnostic.remedy))


def _show(found: list[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..system.console import open_console

    console = open_console()
    table = Table("", "part", "needs", box=None, pad_edge=False)
    table.add_column("found", overflow="fold")
    for part, diagnostic in found:
        mark = Text("ok", "green") if diagnostic.ok else Text("missing", "bold red")
        table.add_row(mark, Text(part), Text(diagnostic.name), Text(diagnostic.detail))
    console.print(table)
    missing = [row for row in found if not row[1].ok]
    for part, diagnostic in missing:
        line = f"{part}: {diagnostic.name}: {diagnostic.remedy}"
        console.print(line, markup=False, soft_wrap=True)
    count = len(found)
    message = (
        f"{len(missing)} of {count} requirements missing"
        if missing
        else f"all {count} requirements met"
    )
    console.print(message)
