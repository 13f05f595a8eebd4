"""``rgb2act prune [RUN...]``."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..plugins.arguments import add_json, add_root, days
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from ..pipeline.prune import Pruned

SCHEMA = "rgb2act.prune/1"


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``prune``."""
    yield Command(
        name="prune",
        summary="list what no run needs in the store, and with --yes remove it",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs, what to keep, ``--root`` and ``--json``."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="runs to remove first: name, name@number or folder [none]",
    )
    parser.add_argument(
        "--yes", action="store_true", help="remove it; without this option, it is only listed"
    )
    parser.add_argument(
        "--keep-days",
        type=days,
        default=0.0,
        metavar="N",
        help="keep what was written to the store in the last N days [0]",
    )
    add_root(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List what is not needed, and remove it if that was asked for."""
    from ..pipeline.find_run import find_run
    from ..pipeline.prune import prune

    root = Path(args.root)
    folders = [find_run(each, root) for each in args.runs]
    found = prune(root, folders, keep_days=args.keep_days, dry=not args.yes)
    if args.json:
        print(json.dumps({"schema": SCHEMA, "removed": args.yes, **found.to_json()}))
    else:
        _show(found, args.yes)
    return 0


def _show(found: Pruned, removed: bool) -> None:
    from ..store.run_folders import RunId
    from ..system.formatting import counted, format_bytes

    for folder in found.runs:
        print(f"run {RunId.of(folder)}")
    totals: defaultdict[str, list[int]] = defaultdict(list)
    for item in found.items:
        totals[item.kind].append(item.bytes)
        print(f"{item.kind}: {item.path}, {format_bytes(item.bytes)}")
    if not (found.items or found.runs):
        print("nothing to remove: runs need everything in the store")
        return
    parts = [counted(len(sizes), "folder") + f" of {kind}" for kind, sizes in totals.items()]
    parts = [counted(len(found.runs), "run")] * bool(found.runs) + parts
    done = "removed" if removed else "to remove, with --yes"
    print(f"{format_bytes(found.bytes)} {done}: {', '.join(parts)}")
