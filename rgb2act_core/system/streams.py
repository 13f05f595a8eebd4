"""Standard streams that are closed, on a full disk, or a pipe whose reader has left."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def open_closed() -> None:
    """Connect standard streams that are closed to the null device.

    Otherwise the next file that is opened takes the place of the stream, and everything that a
    library prints is written into it.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            _connect_to_null(fd)
        if getattr(sys, name) is None:
            mode = "w" if fd else "r"
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def print_error(message: object) -> None:
    """Print a line to stderr; do nothing if it cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def finish(code: int) -> int:
    """Flush the standard streams and return the exit code.

    The code becomes 2 if the results of a command could not be written to stdout. The reader of a
    pipe may leave early, as in ``rgb2act plugins | head -1``.
    """
    if (error := _flush(sys.stdout)) and not isinstance(error, BrokenPipeError):
        reason = (error.strerror or str(error)).lower()
        print_error(f"stdout: cannot be written ({reason}); the command ran, its output is lost")
        code = code or 2
    _flush(sys.stderr)
    return code


def has_failed(err: OSError) -> bool:
    """Return whether an error is one of stdout, and discard what is written to it from now on."""
    if isinstance(err, BrokenPipeError):
        failed = _reader_left()
    else:  # errors of files have a name, or are translated where the file is written
        failed = err.errno in FULL and err.filename is None
    if failed:
        with contextlib.suppress(OSError, ValueError):
            _connect_to_null(sys.stdout.fileno())
    return failed


def _reader_left() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLERR)
    return bool(poll.poll(0))


def _flush(stream: IO[str]) -> OSError | None:
    """Flush a stream; return the error and discard the output if it cannot be written."""
    try:
        stream.flush()
    except OSError as err:
        with contextlib.suppress(OSError, ValueError):  # the interpreter flushes again at exit
            _connect_to_null(stream.fileno())
        return err
    except ValueError:  # closed by a library
        return None
    return None


def _connect_to_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
