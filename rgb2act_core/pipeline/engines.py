"""Divide a stage among the machines of an engine; afterwards this process completes it."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import tomli_w

from .._version import __version__
from ..errors import UserError
from ..interfaces import Cluster, EngineOptions
from ..plugins import registry
from ..plugins.validation import GROUP
from ..spec import Compute
from ..spec.reader import unstructure
from ..stages.run import Run
from ..store.disk_errors import guard
from ..store.stage_id import Stage
from ..system import machine
from ..system.formatting import counted
from ..system.progress import progress_bar, say
from ..system.shards import Shard
from ..tracking.tracker import without_none
from .shard_jobs import NodeProbe, ShardJob, stop_jobs

LOCAL = "local"
POLL = 2.0  # seconds between two looks at what is left, more if a look takes long


def check_engine(compute: Compute) -> None:
    """Raise UserError if the engine is not installed."""
    registry.find_engine(compute.engine)


def divide(run: Run, shard: Shard, stage: Stage, left: Callable[[], int], unit: str) -> None:
    """Run the shards of a stage on the machines of the spec's engine, if it has any work left.

    A process that computes a shard itself does not divide it. ``left`` returns how many units are
    not stored yet; the progress bar shows it. Raises UserError, before any work, naming the
    machines that have other software or not the same store.
    """
    compute = run.spec.compute
    if shard.divides or not is_divided(compute) or not left():
        return
    options = EngineOptions(
        address=compute.engine_address,
        workers=compute.engine_workers,
        gpu=compute.device == "auto" or compute.device.startswith("cuda"),
    )
    engine = registry.find_engine(compute.engine)
    with engine.connect(options) as cluster:
        machines = _check_machines(cluster, run.root)
        count = max(cluster.workers, 2)  # one shard would be the complete command
        jobs = [_job(run, stage, Shard(number + 1, count)) for number in range(count)]
        say(
            f"{stage}: {counted(count, 'shard')} on {counted(machines, 'machine')}"
            f" of the engine {engine.name}"
        )
        with _progress(f"{stage} on {engine.name}", left, unit):
            try:
                cluster.run(jobs)
            except BaseException:
                stop_jobs()
                raise


def is_divided(compute: Compute) -> bool:
    """Return whether an engine runs stages in shards."""
    return compute.engine != LOCAL or compute.engine_workers > 1


def _job(run: Run, stage: Stage, shard: Shard) -> ShardJob:
    plain = without_none(unstructure(run.spec))
    plain["compute"] |= {"engine": LOCAL, "engine_workers": 0, "engine_address": ""}
    return ShardJob(
        command=str(stage), shard=str(shard), spec=tomli_w.dumps(plain), root=str(run.root)
    )


def _check_machines(cluster: Cluster, root: Path) -> int:
    """Return the number of machines. Raises UserError naming each that cannot be used."""
    with _probe(root) as probe:
        found = cluster.probe(probe)
    problems = [f"{name}: {problem}" for name, each in found.items() for problem in each]
    if problems:
        raise UserError(
            *(
                f"machine {problem}; all machines need the same versions and the same --root"
                for problem in problems
            )
        )
    return len(found)


@contextlib.contextmanager
def _probe(root: Path) -> Iterator[NodeProbe]:
    """Write a file into the store that the machines read."""
    token = secrets.token_hex(8)
    path = root / "store" / f"probe-{token}"
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token, encoding="utf-8")
    try:
        yield NodeProbe(file=str(path), content=token, versions=_versions(), group=GROUP)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _versions() -> Mapping[str, str]:
    """Return the versions of rgb2act and its plugins."""
    found = machine.versions(GROUP, ())
    return {name: version for name, version in found.items() if name != "python"} | {
        "rgb2act": __version__
    }


@contextlib.contextmanager
def _progress(title: str, left: Callable[[], int], unit: str) -> Iterator[None]:
    """Show how many units are stored, in a thread."""
    total, ended = left(), threading.Event()
    with progress_bar(title, total, unit) as advance:

        def look() -> None:
            before, pause = total, POLL
            while not ended.wait(pause):
                began = time.monotonic()
                now = left()
                pause = max(POLL, 20 * (time.monotonic() - began))
                advance(before - now)
                before = now
            advance(before - left())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
