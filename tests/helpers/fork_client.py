"""The client of ``fork_server``, with the standard library only, as a class and as a program.

usage: python fork_client.py SOCKET ARGUMENTS    as ``rgb2act ARGUMENTS``, with the same output,
                                                  exit code and reaction to signals
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SIGNAL_SECONDS = 0.5  # a signal that comes just before a wait is handled only after it


class Forked:
    """A process that runs ``rgb2act``; it leads its own process group.

    If this object's process ends first, the server kills the process.
    """

    def __init__(
        self,
        server: str,
        args: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        outputs: Sequence[int],
    ) -> None:
        data = json.dumps({"args": list(args), "env": dict(env), "cwd": cwd}).encode()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server)
        self._connection.sendmsg(
            [struct.pack("i", len(data)), data],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", outputs))],
        )
        self.pid = self._receive()
        self.returncode: int | None = None

    def _receive(self) -> int:
        (number,) = struct.unpack("i", self._connection.recv(4, socket.MSG_WAITALL))
        return int(number)

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs; it is negative after a signal."""
        if self.returncode is None and self._ends_within(0):
            self.returncode = self._receive()
            self._connection.close()
        return self.returncode

    def wait(self) -> int:
        """Return the exit code once the process has ended, as ``poll`` does."""
        while (code := self.poll()) is None:
            self._ends_within(SIGNAL_SECONDS)
        return code

    def _ends_within(self, seconds: float) -> bool:
        return bool(select.select([self._connection], [], [], seconds)[0])

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, but not to its children."""
        os.kill(self.pid, number)


def main() -> int:
    """Run the command line and return the exit code."""
    process = Forked(sys.argv[1], sys.argv[2:], os.environ, str(Path.cwd()), (1, 2))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    code = process.wait()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
