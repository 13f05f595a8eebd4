"""``rgb2act plugins``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins import registry
from ..plugins.arguments import add_json
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``plugins``."""
    yield Command(
        name="plugins",
        summary="list installed components and commands",
        arguments=add_json,
        run=run,
    )


def run(args: argparse.Namespace) -> int:
    """List components by kind, then commands, then the errors of broken plugins."""
    statuses = registry.statuses()
    if args.json:
        print_json("plugins", {"plugins": [_to_json(status) for status in statuses]})
        return 0
    rows = sorted(
        (kind.label, name, _origin(status), summary)
        for status in statuses
        for kind, name, summary in status.components
    )
    rows += [
        ("engine", name, _origin(status), summary)
        for status in statuses
        for name, summary in status.engines
    ]
    rows += [
        ("command", name, _origin(status), summary)
        for status in statuses
        for name, summary in status.commands
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[3]]).rstrip())
    for status in statuses:
        if status.error:
            print(f"{_origin(status)} ({status.name}): {status.error}")
    return 0


def _origin(status: registry.PluginStatus) -> str:
    return f"{status.distribution} {status.version}"


def _to_json(status: registry.PluginStatus) -> dict[str, object]:
    return {
        "name": status.name,
        "module": status.module,
        "distribution": status.distribution,
        "version": status.version,
        "components": [
            {"kind": str(kind), "name": name, "summary": summary}
            for kind, name, summary in status.components
        ],
        "commands": [{"name": name, "summary": summary} for name, summary in status.commands],
        "engines": [{"name": name, "summary": summary} for name, summary in status.engines],
        "error": status.error,
    }
