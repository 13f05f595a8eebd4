"""``rgb2act deploy-robotwin RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rgb2act_core import find_run


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``deploy-robotwin``."""
    parser.add_argument("run", metavar="RUN", help="name of the run, name@number, or its folder")
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="checkout of RoboTwin"
    )
    parser.add_argument(
        "--name", default="RGB2ACT", metavar="NAME", help="name of the policy folder [RGB2ACT]"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also overwrite files that were changed or that rgb2act did not write",
    )
    parser.add_argument(
        "--root", metavar="DIR", help="folder of all runs and their store [RGB2ACT_ROOT, or runs]"
    )


def run(args: argparse.Namespace) -> int:
    """Write the policy folders and print them with the command that evaluates the policy."""
    from ..evaluation.deploy import deploy

    deployment = deploy(find_run(args.run, args.root), args.into, args.name, args.force)
    for warning in deployment.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for folder in deployment.folders:
        print(folder)
    height, width = deployment.image
    print(
        f"the policy uses {', '.join(deployment.cameras)} at {height}x{width};"
        f" evaluate it with: bash {deployment.folders[0] / 'eval.sh'} TASK_NAME TASK_CONFIG"
    )
    return 0
