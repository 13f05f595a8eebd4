"""Whether a server can be reached, before a library retries for a minute."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request

TIMEOUT = 5.0  # seconds


def reason_unreachable(url: str) -> str | None:
    """Return why the server of ``url`` cannot be reached; None if it answers or behind a proxy."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return None
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), TIMEOUT).close()
    except OSError as err:
        return (err.strerror or str(err)).lower()
    return None
