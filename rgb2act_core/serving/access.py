"""The listening address and the access token of a server. Importing this imports no torch."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
import socket
from pathlib import Path

from ..errors import UserError

TOKEN = "RGB2ACT_TOKEN"  # environment variable
BACKLOG = 256  # connections that the system holds until they are accepted
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20}  # seconds


def read_token(host: str, file: str | None) -> str | None:
    """Return the access token from a file or RGB2ACT_TOKEN, or None.

    Raises UserError if the file cannot be read, or if there is no token and ``host`` is reachable
    from other machines.
    """
    token = os.environ.get(TOKEN) or None
    if file is not None:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as err:
            raise UserError(f"--token-file {file}: cannot be read ({err})") from err
        if not token:
            raise UserError(f"--token-file {file}: is empty; write a long random token into it")
    if token is None and not _loopback(host):
        raise UserError(
            f"--host {host}: needs an access token, because other machines can connect; give"
            f" --token-file or set {TOKEN}"
        )
    return token


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 selects any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as err:
        raise UserError(
            f"{host}:{port}: cannot listen on this address ({err}); give another"
        ) from err
    _enable_keepalive(listener)
    return listener


def _enable_keepalive(listener: socket.socket) -> None:
    """Let the system close connections to hosts that no longer respond, within minutes."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def tokens_equal(given: str | None, token: str) -> bool:
    """Compare tokens in a time that does not depend on their content."""
    return hmac.compare_digest((given or "").encode("utf-8", "surrogatepass"), token.encode())
