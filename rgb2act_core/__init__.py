"""RGB in, bimanual joint actions out: a small core that plugins fill."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .alignment.saving import load_aligner
    from .plugins.components import Command, Component, Kind
    from .plugins.hookspecs import hookimpl

__all__ = [
    "Command",
    "Component",
    "Kind",
    "UserError",
    "__version__",
    "hookimpl",
    "load_aligner",
]
__version__ = "0.1.0"

_LATER = {
    "Command": "plugins.components",
    "Component": "plugins.components",
    "Kind": "plugins.components",
    "hookimpl": "plugins.hookspecs",
    "load_aligner": "alignment.saving",
}


def __getattr__(name: str) -> Any:
    """Import what plugins need when they ask for it: ``rgb2act --help`` needs none of it."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
