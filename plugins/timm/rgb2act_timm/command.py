"""``rgb2act backbones --timm PATTERN``: list timm's models."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rgb2act_core import UserError

from .config import LARGEST

SHOWN = 20  # models, unless --all is given
UNKNOWN = "not known without weights"
COLUMNS = ("model", "parameters", "channels", "tokens", "licence")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the pattern, the size of an image, ``--all`` and ``--json``."""
    parser.add_argument(
        "--timm",
        metavar="PATTERN",
        required=True,
        help="part of the names, or a pattern of whole names such as 'vit_*dinov2*'",
    )
    parser.add_argument(
        "--image", metavar="HxW", default="240x320", help="size of an image [240x320]"
    )
    parser.add_argument("--all", action="store_true", help=f"list more than {SHOWN} models")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List the models; exit code 1 if there are none."""
    from rgb2act_core import progress_bar

    from .catalogue import names
    from .listing import describe

    height, width = _size(args.image)
    found = names(args.timm)
    shown = found if args.all else found[:SHOWN]
    rows = []
    with progress_bar("read", len(shown), "models") as advance:
        for name in shown:
            rows.append(describe(name, height, width))
            advance()
    if args.json:
        print(json.dumps({"schema": "rgb2act.backbones/1", "total": len(found), "models": rows}))
    else:
        _print(rows, len(found), args)
    return int(not found)


def _print(rows: list[dict[str, Any]], total: int, args: argparse.Namespace) -> None:
    if not rows:
        print(f"no name of a model of timm contains {args.timm!r}, or matches it as a pattern")
        return
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
    if any(row["problem"] for row in rows):
        print("--json adds the reason where a model has no tokens for this image")
    if total > len(rows):
        print(f"{total - len(rows)} more; --all lists them")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["model"],
        f"{row['parameters'] / 1e6:.1f} M",
        "" if row["channels"] is None else str(row["channels"]),
        _tokens(row),
        row["licence"],
    )


def _tokens(row: dict[str, Any]) -> str:
    if row["tokens"] is not None:
        return " x ".join(map(str, row["tokens"]))
    if row["problem"] == UNKNOWN:
        return UNKNOWN
    return "no token map" if row["channels"] is None else "not for this size"


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    sides = [int(side) for side in (height, width) if side.isdecimal() and len(side) < 6]
    if len(sides) < 2 or not all(1 <= side <= LARGEST for side in sides):
        raise UserError(
            f"--image {text!r:.40}: is not a size; give height and width of at most {LARGEST}"
            " pixels, such as 240x320"
        )
    return sides[0], sides[1]
