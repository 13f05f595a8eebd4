"""The records of runs in a root that tests write to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def last_folder(root: Path, name: str) -> Path:
    """Return the folder of the run of a name that was written last."""
    paths = (root / name).glob("*/run.json")
    return max(paths, key=lambda path: path.stat().st_mtime_ns).parent


def last_stages(root: Path, name: str) -> list[dict[str, Any]]:
    """Return the recorded stages of the run of a name that was written last."""
    stages: list[dict[str, Any]] = json.loads((last_folder(root, name) / "run.json").read_text())[
        "stages"
    ]
    return stages
