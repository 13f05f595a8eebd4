"""``rgb2act record-robotwin SPEC``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rgb2act_core import UserError

from ..config import Robotwin


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``record-robotwin``."""
    parser.add_argument(
        "spec", metavar="SPEC", type=Path, help="spec with an environment 'robotwin'"
    )
    parser.add_argument(
        "--episodes", type=int, required=True, metavar="N", help="episodes per task, in total"
    )
    parser.add_argument(
        "--into",
        type=Path,
        required=True,
        metavar="DIR",
        help="data folder; episodes are written to DIR/<task>/<task_config>",
    )
    parser.add_argument(
        "--first-seed", type=int, default=0, metavar="SEED", help="seed of the first scene [0]"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="simulators that record at the same time, 0 for one per core"
        " [compute.simulator_workers]",
    )


def run(args: argparse.Namespace) -> int:
    """Record demonstrations and print the folder of each task."""
    from rgb2act_core import read_spec, workers_of

    from ..simulator.dataset_recorder import record

    if args.episodes < 1:
        raise UserError(f"--episodes: expected a number above 0, got {args.episodes}")
    if args.workers is not None and args.workers < 0:
        raise UserError(f"--workers: expected a number from 0, got {args.workers}")
    spec = read_spec(args.spec, files=False)
    configured = spec.compute.simulator_workers if args.workers is None else args.workers
    configs = [choice.config for choice in spec.environments]
    tasks = [config for config in configs if isinstance(config, Robotwin)]
    if not tasks:
        raise UserError(
            f"{args.spec}: has no environment 'robotwin'; set use = 'robotwin' in [environment]"
        )
    for config in tasks:
        workers = workers_of(configured)
        print(record(config, args.into, args.episodes, args.first_seed, workers))
    return 0
