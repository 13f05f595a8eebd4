"""Serve a finished run's policy over the network. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .access import listen, read_token, same
    from .command_line import announce, serve_arguments, until_interrupted
    from .server import Served, load
    from .sessions import Session, Sessions
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "Served": "server",
            "Session": "sessions",
            "Sessions": "sessions",
            "announce": "command_line",
            "listen": "access",
            "load": "server",
            "read_token": "access",
            "same": "access",
            "serve_arguments": "command_line",
            "until_interrupted": "command_line",
        },
    )

__all__ = [
    "Served",
    "Session",
    "Sessions",
    "announce",
    "listen",
    "load",
    "read_token",
    "same",
    "serve_arguments",
    "until_interrupted",
]
