"""``rgb2act serve``: let simulators elsewhere ask a run's policy what to do."""

from __future__ import annotations

import argparse

from ..serving.access import listen, read_token
from ..serving.command_line import announce, until_interrupted
from .run import folder_of


def serve(args: argparse.Namespace) -> int:
    """Serve a policy until interrupted."""
    folder = folder_of(args)
    token = read_token(args.host, args.token_file)
    with until_interrupted(), listen(args.host, args.port) as listener:
        from ..serving.server import Server, load

        served, sessions = load(folder, args.batch)
        server = Server(listener, served, sessions, token)
        try:
            announce(args, listener.getsockname(), served)
            server.run()
        finally:
            server.close()
    return 0
