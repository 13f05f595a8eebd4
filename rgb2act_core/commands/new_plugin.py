"""``rgb2act new-plugin NAME --kind KIND``."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..plugins.components import Command, Kind
from ..plugins.hookspecs import hookimpl


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``new-plugin``."""
    yield Command(
        name="new-plugin",
        summary="create a plugin from a template",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the plugin's name and kind, and the folder to write to."""
    parser.add_argument("name", metavar="NAME", help="name of the plugin and its component")
    parser.add_argument(
        "--kind", required=True, choices=[*map(str, Kind)], help="kind of the component"
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="with --kind environment: read recorded episodes instead of simulating",
    )
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="folder to create the plugin in [.]"
    )


def run(args: argparse.Namespace) -> int:
    """Write a plugin and print the next steps."""
    from ..scaffold import write

    folder = write(args.name, Kind(args.kind), Path(args.out), args.recorded)
    path = shlex.quote(str(folder))
    print(f"created {folder}; next:")
    print(f"  pip install -e {path}")
    print(f"  rgb2act selftest {args.name}")
    print(f"  python -m pytest {path}")
    return 0
