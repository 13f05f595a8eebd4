"""Commands that this plugin adds to rgb2act; light."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rgb2act_core import Command
from rgb2act_core.errors import UserError

from .config import Robotwin


def commands() -> Iterator[Command]:
    """Yield the commands."""
    yield Command(
        name="record-robotwin",
        summary="record demonstrations of RoboTwin's scripted expert, in its released layout",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``record-robotwin``."""
    parser.add_argument(
        "spec", metavar="SPEC", type=Path, help="a spec whose environment is robotwin"
    )
    parser.add_argument("--episodes", type=int, required=True, help="how many there are to be")
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="RoboTwin's data folder"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="seed to begin with")


def run(args: argparse.Namespace) -> int:
    """Record, and print the folder of each task."""
    from rgb2act_core.spec.reader import read_spec

    from .collecting import record

    if args.episodes < 1:
        raise UserError(f"--episodes: expected a number above 0, got {args.episodes}")
    configs = [each.config for each in read_spec(args.spec, files=False).environments]
    ours = [config for config in configs if isinstance(config, Robotwin)]
    if not ours:
        raise UserError(f"{args.spec}: has no environment 'robotwin'; give a spec that has one")
    for config in ours:
        print(record(config, args.into, args.episodes, args.first_seed))
    return 0
