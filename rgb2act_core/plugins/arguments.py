"""Arguments that several commands share, and types for ``argparse``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError


def add_run(parser: ArgumentParser) -> None:
    """Add ``RUN`` and ``--root``, which name a run together."""
    parser.add_argument("run", metavar="RUN", help="folder of the run, or its name under --root")
    add_root(parser)


def add_root(parser: ArgumentParser) -> None:
    """Add ``--root``, the folder of all runs."""
    parser.add_argument(
        "--root", default="runs", metavar="DIR", help="folder of all runs and their store [runs]"
    )


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the results as JSON to stdout")


def count(text: str) -> int:
    """Return an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """Return a TCP port; 0 lets the system choose one."""
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def seed_range(text: str) -> range:
    """Return the seeds of ``A:B``, B excluded."""
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise ArgumentTypeError(f"expected A:B with A < B, got {text!r}")
    return range(int(first), int(end))
