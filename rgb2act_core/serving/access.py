"""Where a server listens, and what its clients must know; light, so that errors come at once."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
import socket
from pathlib import Path

from ..errors import UserError

TOKEN = "RGB2ACT_TOKEN"  # environment variable
CLIENTS = 256  # connections at once


def read_token(host: str, file: str | None) -> str | None:
    """Return the token that clients are to know, if any; raise UserError when one is needed."""
    token = os.environ.get(TOKEN) or None
    if file is not None:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as err:
            raise UserError(f"--token-file {file}: cannot be read ({err})") from err
        if not token:
            raise UserError(f"--token-file {file}: is empty; write a long random word into it")
    if token is None and not _loopback(host):
        raise UserError(f"--host {host}: others can reach it; give --token-file, or set {TOKEN}")
    return token


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=CLIENTS)
    except (OSError, OverflowError) as err:
        raise UserError(f"{host}:{port}: cannot listen there ({err}); give another") from err


def same(given: str | None, token: str) -> bool:
    """Return whether a token is the right one, in a time that does not tell how wrong it is."""
    return hmac.compare_digest((given or "").encode(), token.encode())
