"""The commands of ``rgb2act``: each module yields its own through the hook that plugins use.

A new module here is a new command; nothing else lists them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from ..plugins.components import Command
from ..plugins.hookspecs import hookimpl

FIRST = ("run", "check", "stages", "act")  # in --help; the others follow by name


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield the commands of every module of this package."""
    for name in modules():
        yield from import_module(f".{name}", __name__).rgb2act_commands()


def modules() -> list[str]:
    """Return the names of the modules in the order of ``--help``."""
    names = {module.name for module in pkgutil.iter_modules(__path__)}
    return [*FIRST, *sorted(names.difference(FIRST))]
