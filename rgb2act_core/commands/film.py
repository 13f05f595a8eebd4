"""``rgb2act film RUN --seeds 60,61``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins.arguments import add_json, add_run, seed_list
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``film``."""
    yield Command(
        name="film",
        summary="film evaluated episodes of a run, from their recorded actions",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the seeds and the task."""
    add_run(parser)
    parser.add_argument(
        "--seeds",
        type=seed_list,
        metavar="A,B",
        help="seeds of the episodes, such as 60,61 or 60:62 [the next 4 failures without a video]",
    )
    parser.add_argument("--task", metavar="NAME", help="one of the run's tasks [all]")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the videos, rebuild the report and print their paths."""
    from ..pipeline.find_run import find_run

    folder = find_run(args.run, args.root)
    from ..pipeline.film import film_episodes
    from ..reporting import report

    videos = film_episodes(folder, args.seeds, args.task)
    page = report.write(folder)
    if args.json:
        print_json("film", {"run": folder, "videos": videos, "report": page})
    else:
        print(*videos, page, sep="\n")
    return 0
