"""``rgb2act plugins``."""

from __future__ import annotations

import argparse
import json

from ..plugins import registry


def plugins(args: argparse.Namespace) -> int:
    """List components by kind and commands, then a line for each plugin with a fault."""
    statuses = registry.statuses()
    if args.json:
        print(json.dumps([_plain(status) for status in statuses], indent=1))
        return 0
    rows = [
        (kind.label, name, f"{status.distribution} {status.version}", summary)
        for status in statuses
        for kind, name, summary in status.components
    ]
    rows += [
        ("command", name, f"{status.distribution} {status.version}", summary)
        for status in statuses
        for name, summary in status.commands
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for row in sorted(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[3]]).rstrip())
    for status in statuses:
        if status.error:
            print(f"{status.distribution} {status.version} ({status.name}): {status.error}")
    return 0


def _plain(status: registry.PluginStatus) -> dict[str, object]:
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
        "error": status.error,
    }
