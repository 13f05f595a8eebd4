"""``rgb2act view PATH|RUN``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..plugins.arguments import add_json, add_root, seed_list
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``view``."""
    yield Command(
        name="view",
        summary="show an episode, or what a run's policy did, in the Rerun viewer",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to show and the file to write."""
    parser.add_argument(
        "source",
        metavar="PATH|RUN",
        help="episode of the store, folder of episodes or of a data set, or a finished run",
    )
    parser.add_argument(
        "--episode", metavar="NAME", help="episode of the data set, or held-out one [the first]"
    )
    parser.add_argument(
        "--seeds",
        type=seed_list,
        metavar="A,B",
        help="of a run: seeds of evaluated episodes, such as 60,61 or 60:62 [the first failure]",
    )
    parser.add_argument("--task", metavar="NAME", help="of a run: one of its tasks [all]")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="of a run: show its plans on a held-out demonstration too",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write a recording (.rrd) [open the viewer]"
    )
    add_root(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the recording or open the viewer, and print what is shown."""
    from ..errors import UserError
    from ..pipeline.find_run import near_run, run_folder
    from ..viewing import view

    output = Path(args.output) if args.output else None
    folder = run_folder(args.source, args.root)
    if folder is None and not Path(args.source).exists():
        raise UserError(
            f"{args.source}: no such file, folder or run{near_run(args.source, Path(args.root))}"
        )
    if output is not None and not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}; create it first")
    if folder is None:
        shown = view.show_episode(Path(args.source), args.episode, output)
    else:
        request = view.Request(
            seeds=args.seeds, task=args.task, offline=args.offline, episode=args.episode
        )
        shown = view.show_run(folder, request, output)
    if args.json:
        print_json("view", {"shown": shown, "output": args.output})
    else:
        print(*shown, *([args.output] if args.output else []), sep="\n")
    return 0
