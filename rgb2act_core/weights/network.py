"""Whether a server can be reached, before a library retries for a minute."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request

TIMEOUT = 5.0  # seconds


def reason_unreachable(url: str) -> str | None:
    """Return why the server of ``url`` cannot be reached; None if it answers or behind a proxy."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as err:
        return f"{url!r:.80} is not a URL: {str(err).lower()}"
    host, proxies = parts.hostname or "", urllib.request.getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(host):
        return None
    try:
        socket.create_connection((host, port), TIMEOUT).close()
    except OSError as err:
        return (err.strerror or str(err)).lower()
    return None
