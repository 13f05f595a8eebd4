"""The default of ``--root``."""

from __future__ import annotations

import os

VARIABLE = "RGB2ACT_ROOT"  # environment variable


def default_root() -> str:
    """Return the folder of all runs: that of the environment variable, or ``runs``."""
    return os.environ.get(VARIABLE) or "runs"
