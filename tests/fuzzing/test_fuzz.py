"""A short run of the fuzzer, and that it notices each sort of failure."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fuzz_child
import pytest
from fuzz import CORPUS, Fuzzer, Sound, Tally, corpus_inputs, table
from fuzz_child import ACCEPTED, CODE, CRASH, HANG, MEMORY, REFUSED, TRACEBACK
from fuzz_kinds import KINDS, SMOKE, Kind
from fuzz_mutations import MUTATIONS, Mutation
from fuzz_specs import mutated

from rgb2act_core.errors import UserError
from rgb2act_core.spec.reader import read_spec

pytestmark = [
    pytest.mark.slow,
    # the child of a process with threads only reads a file and exits
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning"),
]
OUTSIDE = Path(tempfile.gettempdir()) / "rgb2act-canary"  # no folder that an input may change
FAST = [name for name in KINDS if name != "spec"]


@functools.cache
def sound_of(name: str) -> Sound:
    """Return the sound files of a kind, written once."""
    return Sound.of(KINDS[name])


@pytest.mark.parametrize("name", FAST)
def test_mutated_inputs_are_accepted_or_refused(name: str) -> None:
    fuzzer = Fuzzer([], None)
    fuzzer.sound[name], fuzzer.tallies[name] = sound_of(name), Tally(name)
    fuzzer.fuzz(name, 8, 0, time.monotonic() + 600)
    tally = fuzzer.tallies[name]
    assert not tally.failures
    assert sum(tally.counts.values()) >= 4


@pytest.mark.parametrize("name", FAST)
def test_a_sound_input_is_accepted(name: str) -> None:
    sound = sound_of(name)
    outcomes = {path: Fuzzer.outcome(sound, path, sound.files[path]) for path in sound.changing}
    assert {outcome.name for outcome in outcomes.values()} <= {ACCEPTED, REFUSED}, outcomes
    assert name == "pcd" or ACCEPTED in {outcome.name for outcome in outcomes.values()}, outcomes


@pytest.mark.parametrize("name", [name for name in KINDS if any(corpus_inputs(name))])
def test_inputs_that_once_failed_are_accepted_or_refused(name: str) -> None:
    sound = sound_of(name)
    for path, data in corpus_inputs(name, CORPUS):
        outcome = Fuzzer.outcome(sound, path, data)
        assert not outcome.failed, outcome


def _refuse() -> None:
    raise UserError("no")


def _allocate() -> None:
    assert bytearray(4 << 30)


def _wait() -> None:
    while True:
        time.sleep(10)


def _write() -> None:
    OUTSIDE.write_text("x")


ENDS: list[tuple[Any, str]] = [
    (lambda: None, ACCEPTED),
    (_refuse, REFUSED),
    (lambda: {}["a"], TRACEBACK),
    (lambda: sys.exit(1), TRACEBACK),
    (_allocate, MEMORY),
    (_wait, HANG),
    (lambda: ctypes.string_at(0), CRASH),
    (lambda: os.system("true"), CODE),
    (lambda: subprocess.run(["true"], check=False), CODE),
    (_write, CODE),
    (lambda: OUTSIDE.rmdir(), CODE),
]


@pytest.mark.parametrize(("end", "expected"), ENDS)
def test_each_sort_of_failure_is_noticed(
    end: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_child, "SECONDS", 0.3)
    outcome = fuzz_child.read_in_child(lambda _: end(), tmp_path)
    assert outcome.name == expected, outcome


def test_failing_inputs_are_stored_and_counted(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "a.txt").write_text("sound")

    def read(folder: Path) -> None:
        assert (folder / "a.txt").read_text(errors="replace").startswith("s")

    kind = Kind("text", write, read)
    fuzzer = Fuzzer([], tmp_path)
    fuzzer.sound["text"], fuzzer.tallies["text"] = Sound.of(kind), Tally("text")
    fuzzer.fuzz("text", 30, 0, time.monotonic() + 600)
    tally = fuzzer.tallies["text"]
    assert tally.failed == tally.counts[TRACEBACK] == len(tally.failures) > 0
    stored = list(corpus_inputs("text", tmp_path))
    assert stored
    assert all(path == "a.txt" and not data.startswith(b"s") for path, data in stored)
    assert table([tally]).splitlines()[1].split()[:2] == ["text", str(sum(tally.counts.values()))]


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_changes_most_files_and_accepts_empty_ones(name: str) -> None:
    data = b"element vertex 5\nproperty float x\n" * 4
    if name == "structure":
        data = b'{"shape": [2, 3], "dtype": "float32"}'
    changed = [Mutation(name, at / 10, at * 8).apply(data) for at in range(10)]
    assert sum(new != data for new in changed) >= 5
    Mutation(name, 0.5, 3).apply(b"")


def test_mutations_of_specs_change_values_and_leave_a_spec(tmp_path: Path) -> None:
    """Most mutated specs must be readable, or only the first check would be tested."""
    data, readable = (SMOKE.parent / "two_tasks.toml").read_bytes(), 0
    path = tmp_path / "spec.toml"
    changed = [mutated(data, number) for number in range(60)]
    assert len(set(changed)) > 50
    for one in changed:
        path.write_bytes(one)
        with contextlib.suppress(UserError):
            read_spec(path)
            readable += 1
    assert readable >= 20
