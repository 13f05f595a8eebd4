"""``rgb2act verify RUN``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from ..plugins.arguments import add_json, add_run, count
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``verify``."""
    yield Command(
        name="verify",
        summary="check that a run's policy computes the same features and actions at inference as"
        " in training",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the number of demonstrations."""
    add_run(parser)
    parser.add_argument(
        "--episodes", type=count, metavar="N", help="demonstrations to replay per task [3]"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Replay demonstrations through the online path; exit code 1 if anything differs."""
    from ..pipeline.find_run import find_run

    folder = find_run(args.run, args.root)
    import attrs

    from ..pipeline.verify import verify

    found = verify(folder, args.episodes)
    if args.json:
        print_json("verify", {"run": folder, "passed": not found.problems, **attrs.asdict(found)})
        return 1 if found.problems else 0
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if found.unchecked and not found.problems:
        print(
            "weights match their digests and backbones compute the features that the policy was"
            f" trained on; stores, features and plans were not checked ({found.unchecked})"
        )
        return 0
    verdict = f"{len(found.problems)} problems" if found.problems else "passed"
    print(
        f"{found.stores} zarr groups checked, {found.episodes} episodes replayed ({found.frames}"
        f" frames); largest differences: tokens {found.token_error:.3g} times the tolerance,"
        f" features {found.feature_error:.3g} standard deviations, actions {found.action_error:.3g}"
        f" times half the action range: {verdict}"
    )
    return 1 if found.problems else 0
