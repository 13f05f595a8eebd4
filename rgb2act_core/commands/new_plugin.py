"""``rgb2act new-plugin NAME --kind KIND``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ..plugins.components import Kind
from ..scaffold import write


def new_plugin(args: argparse.Namespace) -> int:
    """Write a plugin and say what to do next."""
    folder = write(args.name, Kind(args.kind), Path(args.out))
    place = shlex.quote(str(folder))
    print(f"wrote {folder}; next:")
    print(f"  pip install -e {place}")
    print(f"  rgb2act selftest {args.name}")
    print(f"  python -m pytest {place}")
    return 0
