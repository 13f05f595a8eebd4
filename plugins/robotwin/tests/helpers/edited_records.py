"""Records of runs with other values and a digest that matches, as another machine writes them."""

from __future__ import annotations

import json
from pathlib import Path

from rgb2act_core.store.files import read_json, write_record


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text in all values of a record."""
    write_record(path, json.loads(json.dumps(read_json(path)).replace(old, new)))
