"""Commands for the other direction: RoboTwin evaluates, and asks us what to do; light."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rgb2act_core import Command
from rgb2act_core.commands.run import folder_of
from rgb2act_core.errors import UserError
from rgb2act_core.serving import serve_arguments


def commands() -> Iterator[Command]:
    """Yield the commands."""
    yield Command(
        name="deploy-robotwin",
        summary="write policy folders with which RoboTwin's own evaluation runs a policy",
        arguments=arguments,
        run=deploy,
    )
    yield Command(
        name="serve-xpolicylab",
        summary="let XPolicyLab's websocket client ask a run's policy what to do",
        arguments=serve_arguments,
        run=serve,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which run is deployed, and where."""
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its name")
    parser.add_argument(
        "--into", required=True, metavar="ROBOTWIN_ROOT", help="checkout of RoboTwin"
    )
    parser.add_argument(
        "--name", default="RGB2ACT", metavar="NAME", help="of the policy folder [RGB2ACT]"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are not ours")
    parser.add_argument(
        "--root", default="runs", metavar="DIR", help="folder of all runs and stores [runs]"
    )


def deploy(args: argparse.Namespace) -> int:
    """Write policy folders for RoboTwin's own evaluation."""
    from .deploying import deploy as write

    done = write(folder_of(args), Path(args.into), args.name, args.force)
    for folder in done.folders:
        print(folder)
    height, width = done.image
    print(
        f"the policy sees {', '.join(done.cameras)} at {height}x{width};"
        f" run: bash {done.folders[0] / 'eval.sh'} TASK_NAME TASK_CONFIG"
    )
    return 0


def serve(args: argparse.Namespace) -> int:
    """Serve a policy to XPolicyLab's websocket client until interrupted."""
    from rgb2act_core.serving import announce, listen, read_token, until_interrupted

    if find_spec("websockets") is None:
        raise UserError("websockets is not installed; pip install 'rgb2act-robotwin[xpolicylab]'")
    folder = folder_of(args)
    token = read_token(args.host, args.token_file)
    with until_interrupted(), listen(args.host, args.port) as listener:
        from rgb2act_core.serving import load

        from . import xpolicylab

        served, sessions = load(folder, args.batch)
        try:
            xpolicylab.check(served)
            announce(args, listener.getsockname(), served)
            xpolicylab.serve(listener, sessions, token)
        finally:
            sessions.close()
    return 0
