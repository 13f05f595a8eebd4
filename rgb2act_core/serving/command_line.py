"""The command line of a server: its arguments, its first line of output, and how it stops."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from ..plugins.arguments import add_json, add_run, count, port
from ..system.interrupts import deferred
from ..system.json_output import print_json
from .connections import SIGNAL_SECONDS

if TYPE_CHECKING:
    from .policy_info import PolicyInfo

Opened = TypeVar("Opened")


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run to serve, the address, the token, the batch size and ``--json``."""
    add_run(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on [127.0.0.1]"
    )
    parser.add_argument(
        "--port", type=port, default=0, metavar="N", help="port [a free one, printed at the start]"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with the access token; RGB2ACT_TOKEN works too. A token is required"
        " unless listening on localhost",
    )
    parser.add_argument(
        "--batch",
        type=count,
        metavar="N",
        help="maximum number of episodes planned in one batch; use 1 for a single robot"
        " [as in the run]",
    )
    add_json(parser)


def announce(args: argparse.Namespace, address: tuple[str, int], info: PolicyInfo) -> None:
    """Print the server's address and the policy it serves."""
    host, port = address[:2]
    if args.json:
        print_json("serve", {"host": host, "port": port, **info.to_json()})
        return
    height, width = info.image
    print(
        f"serving {info.run} on {host}:{port}, up to {info.batch} episodes per batch:"
        f" {len(info.cameras)} cameras ({', '.join(info.cameras)}) at {height}x{width} in,"
        f" {len(info.action_names)} joints out; press Ctrl-C to stop",
        flush=True,
    )
    if info.image_encoding:
        print(
            f"the policy was trained on images encoded as {info.image_encoding}; images that are"
            " sent must have passed through the same encoding",
            flush=True,
        )


def report(args: argparse.Namespace, summary: Mapping[str, Any]) -> None:
    """Print a server's counts and latencies when it stops."""
    if args.json:
        print_json("serve", summary)
        return
    times = ", ".join(
        f"{kind} {found['p50']:.1f} and {found['p99']:.1f} ms"
        for kind, found in summary["latency"].items()
    )
    print(
        f"{summary['plans']} plans, {summary['late_plans']} late; median and 99th percentile:"
        f" {times}",
        file=sys.stderr,
    )


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """Return quietly from the block on Ctrl-C or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)


def serve_in_thread(
    server: contextlib.AbstractContextManager[Opened], loop: Callable[[Opened], None]
) -> None:
    """Enter a server's context and run its loop in a thread, until the loop ends or Ctrl-C.

    In the main thread, a loop can miss a signal that comes just before it waits for clients: Python
    calls the signal's handler only after the wait. Leaving the context has to end the loop, which
    has always been started by then. Raises the loop's error, or KeyboardInterrupt on Ctrl-C, and on
    SIGTERM within ``until_interrupted``.
    """
    threads = ThreadPoolExecutor(1)
    with contextlib.ExitStack() as stack:
        with deferred() as interrupted:
            running = threads.submit(loop, stack.enter_context(server))
            threads.shutdown(wait=False)
        if interrupted():
            raise KeyboardInterrupt
        while not running.done():
            wait([running], SIGNAL_SECONDS)
        running.result()
