"""The name of this host, and whether a process on it is running."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path


def host_name() -> str:
    """Return the host's name, shortened to letters, digits and dots."""
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40] or "_"


def is_running(pid: int) -> bool:
    """Return whether a process of this host is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    with contextlib.suppress(OSError):  # not Linux, or the process has just ended
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        return state != b"Z"  # a zombie: containers without an init process never reap it
    return True
