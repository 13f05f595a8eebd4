"""Arguments that several commands share, and types for ``argparse``."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from functools import partial

from ..system.default_root import VARIABLE, default_root
from ..system.shards import ALL, Shard

MOST = 10**6  # episodes and seeds
LARGEST_SEED = 2**31 - 1


def add_run(parser: ArgumentParser) -> None:
    """Add ``RUN`` and ``--root``, which name a run together."""
    parser.add_argument("run", metavar="RUN", help="name of the run, name@number, or its folder")
    add_root(parser)


def add_spec(parser: ArgumentParser, metavar: str = "SPEC") -> None:
    """Add ``SPEC`` and the options that override its keys."""
    finished = ", or a finished run: its name, name@number or folder" if metavar != "SPEC" else ""
    parser.add_argument("spec", metavar=metavar, help=f"run spec (TOML file){finished}")
    parser.set_defaults(overrides=[], takes_runs=metavar != "SPEC")
    for option, value, text in (
        ("--set", "KEY=VALUE", "set a key of the spec, such as policy.steps=100 (repeatable)"),
        ("--seed", "N", "set the key seed"),
        ("--device", "NAME", "set the key compute.device"),
        ("--engine", "NAME", "set the key compute.engine"),
    ):
        parser.add_argument(
            option,
            dest="overrides",
            action="append",
            type=partial(option_text, option),
            metavar=value,
            help=text,
        )


def option_text(name: str, text: str) -> tuple[str, str]:
    """Return an option with its text, as the options of one list keep their order."""
    return name, text


def add_progress(parser: ArgumentParser) -> None:
    """Add ``--progress``."""
    parser.add_argument(
        "--progress",
        choices=("text", "json"),
        help="how to print progress to stderr; json is one object a line [text]",
    )


def add_shard(parser: ArgumentParser, unit: str) -> None:
    """Add ``--shard``; ``unit`` is what is divided."""
    parser.add_argument(
        "--shard",
        type=shard,
        default=ALL,
        metavar="I/N",
        help=f"do the I-th of N parts, divided by {unit}; the last one ends the stage [1/1]",
    )


def refuse_shard(parser: ArgumentParser, name: str) -> None:
    """Make ``--shard`` an error of a command that is not divided."""

    def refused(text: str) -> Shard:
        raise ArgumentTypeError(
            f"{name} is not divided into shards; only collect, extract and act are"
        )

    parser.add_argument("--shard", type=refused, default=ALL, help=SUPPRESS)


def shard(text: str) -> Shard:
    """Return the shard ``I/N``, with I from 1 to N."""
    number, _, count = text.partition("/")
    if not (_is_number(number) and _is_number(count) and 1 <= int(number) <= int(count) <= MOST):
        raise ArgumentTypeError(
            f"expected I/N, such as 3/16, with I from 1 to N, got {shortened(text)}"
        )
    return Shard(int(number), int(count))


def add_root(parser: ArgumentParser) -> None:
    """Add ``--root``, the folder of all runs."""
    parser.add_argument(
        "--root",
        default=default_root(),
        metavar="DIR",
        help=f"folder of all runs and their store [{VARIABLE}, or runs]",
    )


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the results as JSON to stdout")


def count(text: str) -> int:
    """Return an integer from 1 to a million."""
    if not _is_number(text) or not 1 <= int(text) <= MOST:
        raise ArgumentTypeError(f"expected an integer from 1 to {MOST}, got {shortened(text)}")
    return int(text)


def days(text: str) -> float:
    """Return a number of days from 0 to a million."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST:
        raise ArgumentTypeError(f"expected days from 0 to {MOST}, got {shortened(text)}")
    return value


def port(text: str) -> int:
    """Return a TCP port; 0 lets the system choose one."""
    if not _is_number(text) or int(text) > 65535:
        raise ArgumentTypeError(f"expected a port from 0 to 65535, got {shortened(text)}")
    return int(text)


def seed_range(text: str) -> range:
    """Return the seeds of ``A:B``, B excluded."""
    first, colon, end = text.partition(":")
    if not (colon and _is_number(first) and _is_number(end) and int(first) < int(end)):
        raise ArgumentTypeError(f"expected A:B with A < B, got {shortened(text)}")
    if int(end) > LARGEST_SEED + 1 or int(end) - int(first) > MOST:
        raise ArgumentTypeError(
            f"expected at most {MOST} seeds up to {LARGEST_SEED}, got {shortened(text)}"
        )
    return range(int(first), int(end))


def seed_list(text: str) -> list[int]:
    """Return the seeds of ``A:B``, B excluded, or of a list such as ``60,61``; each once."""
    if ":" in text:
        return list(seed_range(text))
    parts = [part.strip() for part in text.split(",")]
    if not all(_is_number(part) and int(part) <= LARGEST_SEED for part in parts):
        raise ArgumentTypeError(f"expected seeds such as 60,61 or 60:62, got {shortened(text)}")
    return list(dict.fromkeys(map(int, parts)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19


def shortened(text: str) -> str:
    """Return an argument for a message."""
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."
