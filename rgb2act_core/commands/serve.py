"""``rgb2act serve RUN``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..serving.command_line import announce, report, serve_arguments, until_interrupted


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``serve``."""
    yield Command(
        name="serve",
        summary="serve a run's policy to simulators or robots over the network",
        arguments=serve_arguments,
        run=run,
    )


def run(args: argparse.Namespace) -> int:
    """Serve a policy until interrupted."""
    from ..pipeline.find_run import find_run
    from ..serving.access import listen, read_token

    folder = find_run(args.run, args.root)
    token = read_token(args.host, args.token_file)
    with until_interrupted(), listen(args.host, args.port) as listener:
        from ..serving.server import Server, load_server

        info, sessions = load_server(folder, args.batch)
        server = Server(listener, info, sessions, token)
        try:
            announce(args, listener.getsockname(), info)
            server.run()
        finally:
            server.close()
            report(args, sessions.latencies.summary())
    return 0
