"""``rgb2act report RUN``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins.arguments import add_run
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``report``."""
    yield Command(
        name="report", summary="rebuild the HTML report of a run", arguments=add_run, run=run
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from ..pipeline.find_run import find_run

    folder = find_run(args.run, args.root)
    from ..reporting import report

    print(report.write(folder))
    return 0
