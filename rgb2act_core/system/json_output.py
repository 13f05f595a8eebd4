"""JSON on stdout: an object that names its format, also for errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import streams


def print_json(name: str, data: Mapping[str, Any], version: int = 1) -> None:
    """Print an object on one line, with the field ``schema``, such as ``rgb2act.check/1``.

    ``name`` is that of the command. Paths become strings.
    """
    content = {"schema": f"rgb2act.{name}/{version}", **data}
    print(json.dumps(content, default=str), flush=True)


def print_json_error(problems: tuple[Any, ...], code: int) -> None:
    """Print the problems of an error, unless stdout cannot be written."""
    try:
        print_json("error", {"error": {"problems": [*map(str, problems)], "exit_code": code}})
    except OSError as err:
        if not streams.has_failed(err):
            raise
