"""``rgb2act serve``: let simulators elsewhere ask a run's policy what to do."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..serving.access import listen, read_token
from .run import folder_of

if TYPE_CHECKING:
    from ..serving.server import Served


def serve(args: argparse.Namespace) -> int:
    """Serve a policy until interrupted."""
    folder = folder_of(args)
    token = read_token(args.host, args.token_file)
    with interruptible(), listen(args.host, args.port) as listener:
        from ..serving.server import Server, load

        served, sessions = load(folder, args.batch)
        server = Server(listener, served, sessions, token)
        try:
            tell(args, listener.getsockname(), served)
            server.run()
        finally:
            server.close()
    return 0


def tell(args: argparse.Namespace, address: tuple[str, int], served: Served) -> None:
    """Print where a server listens and what it serves."""
    host, port = address[:2]
    if args.json:
        print(json.dumps({"host": host, "port": port, **served.plain()}), flush=True)
        return
    height, width = served.image
    print(
        f"serving {served.run} on {host}:{port}, for {served.batch} at once:"
        f" {', '.join(served.cameras)} at {height}x{width} in, {len(served.action_names)} joints"
        " out; Ctrl-C ends it",
        flush=True,
    )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """End quietly by Ctrl-C or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
