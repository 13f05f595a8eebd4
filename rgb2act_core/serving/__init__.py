"""Serve a finished run's policy over the network. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .access import listen, read_token, tokens_equal
    from .command_line import announce, serve_arguments, serve_in_thread, until_interrupted
    from .connections import Connections
    from .line_limit import client_log
    from .policy_info import PolicyInfo, read_policy_info
    from .server import Server, load_server
    from .sessions import Session, Sessions
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "Connections": "connections",
            "PolicyInfo": "policy_info",
            "Server": "server",
            "Session": "sessions",
            "Sessions": "sessions",
            "announce": "command_line",
            "client_log": "line_limit",
            "listen": "access",
            "load_server": "server",
            "read_policy_info": "policy_info",
            "read_token": "access",
            "serve_arguments": "command_line",
            "serve_in_thread": "command_line",
            "tokens_equal": "access",
            "until_interrupted": "command_line",
        },
    )

__all__ = [
    "Connections",
    "PolicyInfo",
    "Server",
    "Session",
    "Sessions",
    "announce",
    "client_log",
    "listen",
    "load_server",
    "read_policy_info",
    "read_token",
    "serve_arguments",
    "serve_in_thread",
    "tokens_equal",
    "until_interrupted",
]
