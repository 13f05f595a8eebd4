"""Each system call that fails leaves a message, no stray file, and a store that resumes.

A few calls are sampled. ``RGB2ACT_FAULTS=300`` samples another number, ``RGB2ACT_FAULTS=all`` lets
every call fail once, one after another. ``pytest -s`` shows how many there were.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec import Spec
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages import collect, recording
from rgb2act_core.store import locks
from rgb2act_core.testing.faults import OPERATIONS, fault

pytestmark = pytest.mark.slow
ERRORS = {
    "open": errno.EMFILE,
    "write": errno.ENOSPC,
    "fsync": errno.EIO,
    "rename": errno.EROFS,
    "lock": errno.ENOLCK,
}
SAMPLED = 8


class Inline(Executor):
    """Runs each job in the calling process, where faults are counted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as err:
            future.set_exception(err)
        return future


@contextmanager
def inline(count: int, component: Any, config: Any) -> Iterator[Executor]:
    recording._initialise(component.name, config)
    yield Inline()


def outcome(root: Path) -> dict[str, bytes]:
    """Return the files that must have the same bits after a fault."""
    kept = ("aligner.safetensors", "policy.safetensors", "metrics.jsonl")
    files = [*root.glob("store/align/*/*"), *root.glob("store/policy/*/*")]
    return {str(f.relative_to(root)): f.read_bytes() for f in files if f.name in kept}


def names(root: Path) -> list[str]:
    """Return all files, without TensorBoard's and the times, which a resumed stage leaves out."""
    paths = (path.relative_to(root) for path in root.rglob("*"))
    left_out = {"tensorboard", "timings"}
    return sorted(str(path) for path in paths if not left_out & set(path.parts))


def run(spec: Spec, root: Path) -> None:
    chain.run_pipeline(spec, root, "train")


@pytest.fixture
def spec(puppet: None, spec_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.setattr(collect, "open_executor", inline)
    monkeypatch.setattr(locks, "STALE", 0.3)
    monkeypatch.setenv("RGB2ACT_QUIET", "1")
    return read_spec(spec_file(name="puppet"))


def test_each_failing_call_leaves_a_message_and_a_store_that_resumes(
    spec: Spec, tmp_path: Path
) -> None:
    with fault(tmp_path / "clean") as counts:
        run(spec, tmp_path / "clean")
    calls = [(operation, n + 1) for operation in OPERATIONS for n in range(counts[operation])]
    chosen = os.environ.get("RGB2ACT_FAULTS", str(SAMPLED))
    if chosen != "all":
        calls = random.Random(0).sample(calls, int(chosen))
    ended: Counter[str] = Counter()
    failures: list[str] = []
    for operation, nth in calls:
        how, problem = fail_once(spec, tmp_path, operation, nth)
        ended[how] += 1
        failures += [f"{operation} {nth}: {problem}"] if problem else []
        print(f"{operation} {nth} of {counts[operation]}: {dict(ended)} {problem}", flush=True)
    assert failures == []


def fail_once(spec: Spec, folder: Path, operation: Any, nth: int) -> tuple[str, str]:
    """Return how a run with a failing call ended, and a problem of it or of the next run."""
    root, how = folder / "faulty", "finished"
    try:
        try:
            with fault(root, operation, nth=nth, error=ERRORS[operation]):
                run(spec, root)
        except UserError as err:
            how = "message"
            if str(root) not in str(err):
                return how, f"the message names no file: {err}"
        run(spec, root)
        if outcome(root) != outcome(folder / "clean"):
            return how, "the bits differ"
        if stray := sorted({*names(root)} ^ {*names(folder / "clean")}):
            return how, f"files differ: {stray}"
    except Exception as err:  # the other calls fail after this one
        return "traceback", repr(err)
    finally:
        shutil.rmtree(root)
    return how, ""
