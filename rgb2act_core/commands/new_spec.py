"""``rgb2act new-spec --env NAME``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plugins import registry
from ..plugins.arguments import add_json
from ..plugins.components import Command, Kind
from ..plugins.hookspecs import hookimpl
from ..system.json_output import print_json

if TYPE_CHECKING:
    from ..scaffold.run_spec import Starter


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``new-spec``."""
    yield Command(
        name="new-spec",
        summary="write a commented run spec to start from",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the environment, the data set, the backbones and the file to write."""
    parser.add_argument("--env", metavar="NAME", help="environment [the one that reads --data]")
    parser.add_argument("--data", metavar="PATH", type=Path, help="recorded data set to train on")
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        action="append",
        default=[],
        help="backbone, repeatable [one without weights]",
    )
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="file to write [stdout]")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write a spec, or print it."""
    from ..scaffold.run_spec import spec_text, write_spec

    found = _starter(args.env, args.data)
    text = spec_text(found, args.backbone, args.out.parent if args.out else Path())
    if args.out is not None:
        write_spec(args.out, f"{text}\n")
    if args.json:
        print_json("new-spec", {"file": args.out, "spec": text, "problem": found.problem or None})
    elif args.out is None:
        print(text)
    else:
        print(f"created {args.out}; next: rgb2act check {shlex.quote(str(args.out))}")
    if found.problem and not args.json:
        print(f"{found.problem}; complete [environment] first", file=sys.stderr)
    return 0


def _starter(env: str | None, data: Path | None) -> Starter:
    from ..scaffold.run_spec import of_data_set, required, starter

    if env is None and data is None:
        raise UserError("--env: missing; name an environment, or give --data")
    component = registry.find(Kind.ENVIRONMENT, env) if env else None
    if data is None:
        assert component is not None
        if any(isinstance(value, Path) for value in required(component).values()):
            raise UserError(f"--env {env}: reads recorded data; give its folder with --data")
        return starter(component)
    from .inspect import summary_of

    return of_data_set(*summary_of(data, component))
