"""``rgb2act export RUN --to onnx|torch --into DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..plugins.arguments import add_json, add_run
from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl
from ..system.formatting import format_bytes
from ..system.json_output import print_json


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``export``."""
    yield Command(
        name="export",
        summary="write a run's policy as an ONNX model or PyTorch program that needs no rgb2act",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the format and the folder."""
    add_run(parser)
    parser.add_argument("--to", choices=("onnx", "torch"), default="onnx", help="format [onnx]")
    parser.add_argument(
        "--into", required=True, type=Path, metavar="DIR", help="folder to write; must not exist"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="store the weights of matrix products as int8, and print the error; onnx only",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Export a policy, and print how far its plans are from those of ``act``."""
    from ..pipeline.find_run import find_run

    folder = find_run(args.run, args.root)
    from ..export.folder import export_run

    exported = export_run(folder, args.into, args.to, int8=args.int8)
    found = exported.description
    if args.json:
        fields = {name: value for name, value in found.items() if name != "schema"}
        print_json("export", {"folder": str(exported.folder), **fields})
        return 0
    for file in found["files"]:
        print(f"{exported.folder / file['name']}: {format_bytes(file['bytes'])}")
    _print_comparison("act", found["comparison"])
    if found["int8"]:
        _print_comparison("the float32 model", found["int8_comparison"])
    print(f"try it: python {exported.folder / 'run.py'}")
    return 0


def _print_comparison(to: str, comparison: Mapping[str, Any] | None) -> None:
    if comparison is None:
        print("not compared with act: onnxruntime is not installed")
        return
    kind = "recorded" if comparison["recorded"] else "random"
    print(
        f"largest difference of a plan to {to}: {comparison['largest']:.1e} (root mean square"
        f" {comparison['mean']:.1e}), on {comparison['observations']} {kind} observations"
    )
