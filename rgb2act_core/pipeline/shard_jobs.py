"""Jobs that an engine runs on the machines of a cluster: one shard of a stage each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import attrs

from ..errors import UserError
from ..interfaces import LostJobError
from ..system.hosts import host_name
from ..system.machine import versions
from ..system.progress_json import VARIABLE

# ends a job with the process that started it (PR_SET_PDEATHSIG = 1, SIGTERM = 15); Linux only
_START = (
    "import contextlib, ctypes, os, sys\n"
    "with contextlib.suppress(AttributeError): ctypes.CDLL(None).prctl(1, 15)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'rgb2act_core', *sys.argv[1:]])"
)
_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


@attrs.frozen(kw_only=True)
class ShardJob:
    """A command that computes one shard, as a process of the machine on which it is called."""

    command: str  # "collect", "extract" or "act"
    shard: str  # such as "3/16"
    spec: str  # TOML
    root: str  # absolute, the same on all machines

    def __call__(self) -> None:
        """Run the command; its messages go to stderr, with host and shard in front.

        Raises UserError if it ends with an error, and LostJobError if it was killed.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "spec.toml"
            path.write_text(self.spec, encoding="utf-8")
            code, last = self._run(path)
        signal = -code if code < 0 else code - 128
        if signal > 0:
            raise LostJobError(f"{self._title}: was ended by signal {signal}")
        if code:
            raise UserError(f"{self._title}: {last or f'ended with exit code {code}'}")

    @property
    def _title(self) -> str:
        return f"{self.command} {self.shard} on {host_name()}"

    def _run(self, path: Path) -> tuple[int, str]:
        arguments = (self.command, str(path), "--root", self.root, "--shard", self.shard)
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {VARIABLE: "json"},
        )
        assert process.stderr is not None
        with _lock:
            _running.add(process)
        last = ""
        try:
            for line in process.stderr:
                if message := _message(line):
                    last = message
                    print(f"{self._title}: {message}", file=sys.stderr, flush=True)
            return process.wait(), last
        finally:
            with _lock:
                _running.discard(process)


def stop_jobs() -> None:
    """End the jobs that this process runs."""
    with _lock:
        for process in _running:
            process.terminate()


def _message(line: str) -> str:
    """Return the text of a line of output; empty for the progress of a task."""
    with contextlib.suppress(ValueError, AttributeError):
        event = json.loads(line)
        return str(event.get("text", ""))
    return line.rstrip()


@attrs.frozen(kw_only=True)
class NodeProbe:
    """Checks that a machine has the same software, and the folder of all runs."""

    file: str  # that the driver wrote into the store
    content: str
    versions: Mapping[str, str]  # of rgb2act and its plugins, by distribution
    group: str  # of the plugins' entry points

    def __call__(self) -> tuple[str, ...]:
        """Return what is wrong on this machine."""
        found = versions(self.group, ("rgb2act",))
        problems = [
            f"has {name} {found[name]}, here it is {version}"
            if name in found
            else f"{name} is not installed"
            for name, version in self.versions.items()
            if found.get(name) != version
        ]
        return (*problems, *self._store_problems())

    def _store_problems(self) -> tuple[str, ...]:
        path = Path(self.file)
        own = path.with_name(f"{path.name}-{host_name()}-{os.getpid()}")
        try:
            if path.read_text(encoding="utf-8") != self.content:
                return (f"{path.parent} is another folder",)
            own.touch()
            own.unlink()
        except OSError as err:
            return (f"{err.filename}: {(err.strerror or str(err)).lower()}",)
        return ()
