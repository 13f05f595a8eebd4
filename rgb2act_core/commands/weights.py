"""``rgb2act weights``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import attrs

from ..spec.reader import read_spec
from ..system.formatting import in_bytes
from ..weights.inventory import WeightsStatus, fetch, inventory


def weights(args: argparse.Namespace) -> int:
    """List what a spec needs; exit code 1 when a file is missing that nothing can fetch."""
    spec = read_spec(Path(args.spec), files=False)
    if args.fetch:
        fetch(spec)
    found = inventory(spec)
    if args.json:
        print(json.dumps([attrs.asdict(need) for need in found], indent=1))
    else:
        for need in found:
            print("\n".join(_lines(need)))
    return int(any(need.state == "missing" for need in found))


def _lines(need: WeightsStatus) -> list[str]:
    """Return a headline and, indented, what there is to say."""
    size = in_bytes(need.size) if need.size is not None else "size not known"
    state = {"random": "random: its output means nothing", "none": "needs no file"}.get(
        need.state, f"{need.state}, {size}"
    )
    if need.state == "none":
        return [f"{need.role} {need.component}: {state}"]
    lines = [f"{need.role} {need.component}: {state}"]
    if need.path:
        lines.append(f"  at       {need.path}")
    if need.name and need.source:
        lines.append(f"  official {need.name}: {need.file}")
    if need.source:
        lines.append(f"  from     {need.source}")
    if need.accept:
        lines.append(f"  gate     accept the licence at {need.accept}")
    if need.licence:
        lines.append(f"  licence  {need.licence}")
    if need.state == "missing" and not need.path:
        lines.append(f"  {need.name or need.file} has no official address; set weights to a path")
    return lines
