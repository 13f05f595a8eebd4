"""Import the library of a logger."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rgb2act_core import UserError


def library(module: str, extra: str) -> Any:
    """Return a module. Raises UserError with the extra to install if it is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as err:
        raise UserError(
            f"{err.name} is not installed; pip install 'rgb2act-loggers[{extra}]'"
        ) from err
