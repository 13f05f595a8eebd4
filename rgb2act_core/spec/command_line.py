"""The spec that a command's arguments name, with the keys that its options override."""

from __future__ import annotations

import argparse
from pathlib import Path

from .overrides import parse_overrides
from .reader import SpecSource, read_source


def given_spec(args: argparse.Namespace, files: bool = True) -> SpecSource:
    """Return the spec of the arguments that ``plugins.arguments.add_spec`` added.

    With ``files=False``, files that the spec names need not exist. Raises UserError with all
    problems of the spec and of the options.
    """
    return read_source(Path(args.spec), parse_overrides(args.overrides), files=files)
