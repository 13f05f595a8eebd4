"""``rgb2act report RUN``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins.arguments import add_json, add_run
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``report``."""
    yield Command(
        name="report", summary="rebuild the HTML report of a run", arguments=arguments, run=run
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and ``--json``."""
    add_run(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from ..pipeline.find_run import find_run

    folder = find_run(args.run, args.root)
    from ..reporting import report

    path = report.write(folder)
    if args.json:
        print_json("report", {"run": folder, "report": path})
    else:
        print(path)
    return 0
