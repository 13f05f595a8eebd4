"""Run ``rgb2act`` in a process of its own.

The process is forked from one that has already imported the large libraries (``fork_server``),
unless a variable is added to its environment that libraries may read while they are imported.
Warnings are errors in it.
"""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from fork_client import Forked

Done = subprocess.CompletedProcess[str]
READ_LATE = ("RGB2ACT_", "COLUMNS", "PYTHONPATH")


def run(
    args: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    cwd: str | Path = ".",
    timeout: float = 120,
) -> Done:
    """Run ``rgb2act`` with variables added to the environment; return its exit code and output.

    The call ends when all processes have closed the output, so an orphaned worker times out.
    """
    forked = all(name.startswith(READ_LATE) for name in env or {})
    process = (Fork if forked else _new_interpreter)(args, env, cwd)
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout} s:\n{err}") from None
    return subprocess.CompletedProcess(args, process.wait(), out, err)


def _new_interpreter(
    args: Sequence[str | Path], env: Mapping[str, str] | None, cwd: str | Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rgb2act_core", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=_environment(env),
        cwd=cwd,
    )


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "error", **(added or {})}


class Fork(Forked):
    """A forked process whose stdout and stderr can be read, as in ``subprocess.Popen``."""

    def __init__(
        self,
        args: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: str | Path = ".",
    ) -> None:
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        words, folder = [str(arg) for arg in args], str(Path(cwd).absolute())
        super().__init__(_server(), words, _environment(env), folder, (out_write, err_write))
        os.close(out_write)
        os.close(err_write)
        self.stdout, self.stderr = (os.fdopen(read, encoding="utf-8") for read in (out, err))

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *exc: object) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return stdout and stderr once all processes have closed them."""
        threads = ThreadPoolExecutor(2)
        outputs = [threads.submit(file.read) for file in (self.stdout, self.stderr)]
        try:
            out, err = (output.result(timeout) for output in outputs)
        except TimeoutError:
            raise subprocess.TimeoutExpired("rgb2act", timeout or 0.0) from None
        finally:
            threads.shutdown(wait=False)
        return out, err


def command() -> list[str]:
    """Return a command line that, followed by arguments, runs ``rgb2act`` in a fork."""
    client = Path(__file__).with_name("fork_client.py")
    return [sys.executable, "-I", "-S", str(client), _server()]


def stop(
    process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT, timeout: float = 60
) -> tuple[str, str]:
    """Send a signal to a process that runs until then; return what it still prints.

    A process that goes on is killed, and the call raises AssertionError.
    """
    process.send_signal(number)
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        raise AssertionError(f"still running {timeout} s after {number.name}:\n{errors}") from None


def executable(path: Path) -> Path:
    """Write a program that runs ``rgb2act`` in a fork and return its path."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command())} "$@"\n')
    path.chmod(0o755)
    return path


@cache
def _server() -> str:
    """Start a fork server; return its address. It stops when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="rgb2act-forks-")
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("fork_server.py"), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=_environment(None),
    )
    atexit.register(_stop, process, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address


def _stop(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.wait()
    folder.cleanup()
