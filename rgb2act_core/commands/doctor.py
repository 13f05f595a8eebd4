"""``rgb2act doctor SPEC``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..interfaces import Diagnostic
from ..pipeline.diagnosis import diagnose
from ..spec.reader import read_spec

Row = tuple[str, Diagnostic]


def doctor(args: argparse.Namespace) -> int:
    """Say what a spec needs and what of it is missing; exit code 1 if anything is."""
    found = list(diagnose(read_spec(Path(args.spec), files=False)))
    if args.json:
        print(json.dumps([{"part": part} | attrs.asdict(f) for part, f in found], indent=1))
    else:
        _show(found)
    return int(not all(finding.ok for _, finding in found))


def _show(found: list[Row]) -> None:
    console = Console()
    table = Table("", "part", "needs", "found", box=None, pad_edge=False)
    for part, finding in found:
        mark = Text("ok", "green") if finding.ok else Text("missing", "bold red")
        table.add_row(mark, Text(part), Text(finding.name), Text(finding.detail))
    console.print(table)
    missing = [row for row in found if not row[1].ok]
    for part, finding in missing:
        line = f"{part}: {finding.name}: {finding.remedy}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    said = f"{len(missing)} of {len(found)} missing" if missing else f"all {len(found)} are there"
    console.print(said, highlight=False)
