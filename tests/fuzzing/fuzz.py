"""Mutate inputs of every kind for a given time, and count how reading them ends.

usage: python tests/fuzzing/fuzz.py [--seconds N] [--seed N] [--kinds NAME,...] [--corpus DIR]

Each input is read in a forked process with limits on time and memory and with a canary for code.
A failing input is stored in the corpus. The exit code is 1 if there was any failure.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import io
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

for folder in (".", "../helpers", "../../plugins/robotwin/tests/helpers"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

from fuzz_child import ACCEPTED, FAILURES, REFUSED, Outcome, read_in_child  # noqa: E402
from fuzz_kinds import KINDS, Kind  # noqa: E402
from fuzz_mutations import numbers, program  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

from rgb2act_core.errors import UserError  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"
ROUND = 25  # inputs of a kind before the next kind's turn
SHARE = 5  # of a kind with its own mutations, one of this number of inputs has general ones
KEPT = 5  # failing inputs per kind and sort of failure


@attrs.define
class Sound:
    """The sound files of a kind, in memory."""

    kind: Kind
    files: dict[str, bytes]  # by relative path
    changing: tuple[str, ...]

    @classmethod
    def of(cls, kind: Kind) -> Sound:
        """Write the sound files of a kind, and read them once, which imports all that it needs."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            kind.write(folder)
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
            matching = {str(path.relative_to(folder)) for path in folder.glob(kind.files)}
            with contextlib.suppress(UserError, *kind.refusals), _quiet(folder):
                kind.read(folder)
        return cls(kind, files, tuple(path for path in files if path in matching))

    def mutated(self, path: str, number: int) -> bytes:
        """Return the changed content of a file; ``number`` seeds the change."""
        data = self.files[path]
        if self.kind.mutate is not None and number % SHARE:
            return self.kind.mutate(data, number)
        for mutation in program(number):
            data = mutation.apply(data)
        return data

    def restore(self, folder: Path, only: str | None) -> None:
        """Write the files; of the independent ones in a flat folder only one."""
        flat = self.kind.files == "*" and self.kind.name not in ("xpolicylab",)
        for path, data in self.files.items():
            if only is None or not flat or path == only:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)


@attrs.define
class Tally:
    """How reading the inputs of a kind ended."""

    kind: str
    counts: Counter[str] = attrs.field(factory=Counter)
    failures: list[str] = attrs.field(factory=list)

    @property
    def failed(self) -> int:
        """Number of failures."""
        return sum(self.counts[name] for name in FAILURES)


class Fuzzer:
    """Mutates and reads inputs, and stores those that fail."""

    def __init__(self, kinds: Sequence[str], corpus: Path | None) -> None:
        self.sound = {name: Sound.of(KINDS[name]) for name in kinds}
        self.tallies = {name: Tally(name) for name in kinds}
        self.corpus = corpus

    def fuzz(self, name: str, count: int, number: int, end: float) -> None:
        """Read ``count`` mutated inputs of a kind; ``number`` seeds the mutations."""
        sound, pick = self.sound[name], random.Random(number)

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(numbers)
        def one(number: int) -> None:
            if time.monotonic() < end:
                self._read(sound, pick.choice(sound.changing), number)

        one()

    def _read(self, sound: Sound, path: str, number: int) -> None:
        data = sound.mutated(path, number)
        outcome = self.outcome(sound, path, data)
        tally = self.tallies[sound.kind.name]
        tally.counts[outcome.name] += 1
        if outcome.failed:
            self._store(sound.kind, path, data, outcome)

    @staticmethod
    def outcome(sound: Sound, path: str, data: bytes) -> Outcome:
        """Return how reading the files of a kind ends if one has this content."""
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory()) as name:
            folder = Path(name)
            sound.restore(folder, path)
            (folder / path).write_bytes(data)
            return read_in_child(sound.kind.read, folder, sound.kind.refusals)

    def _store(self, kind: Kind, path: str, data: bytes, outcome: Outcome) -> None:
        tally = self.tallies[kind.name]
        last = outcome.detail.strip().splitlines()[-1:] or [""]
        text = f"{kind.name} {path}: {outcome.name}: {last[0][:200]}"
        tally.failures.append(text)
        print(text, file=sys.stderr, flush=True)
        if self.corpus is not None and tally.counts[outcome.name] <= KEPT:
            digest = hashlib.sha256(data).hexdigest()[:12]
            target = self.corpus / kind.name / digest / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            (self.corpus / kind.name / f"{digest}.txt").write_text(f"{text}\n\n{outcome.detail}\n")


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    output = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        yield


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def corpus_inputs(kind: str, corpus: Path = CORPUS) -> Iterator[tuple[str, bytes]]:
    """Yield the stored inputs of a kind: the changed file's path and its content."""
    for path in sorted((corpus / kind).glob("*/**/*")):
        if path.is_file():
            relative = path.relative_to(corpus / kind)
            yield str(Path(*relative.parts[1:])), path.read_bytes()


def table(tallies: Sequence[Tally]) -> str:
    """Return the counts as a table."""
    columns = (ACCEPTED, REFUSED, *FAILURES)
    rows = [["kind", "inputs", *columns]]
    for tally in tallies:
        counts = [tally.counts[name] for name in columns]
        rows.append([tally.kind, str(sum(counts)), *map(str, counts)])
    totals = [sum(int(row[i]) for row in rows[1:]) for i in range(1, len(rows[0]))]
    rows.append(["all", *map(str, totals)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def main() -> int:
    """Fuzz until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    number = int.from_bytes(os.urandom(4)) if args.seed is None else args.seed
    print(f"seed {number}", flush=True)
    fuzzer = Fuzzer(args.kinds.split(","), args.corpus)
    gc.collect()
    gc.freeze()  # forks share this memory
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        for name in fuzzer.sound:
            fuzzer.fuzz(name, ROUND, number, end)
        number += 1
    print(table(list(fuzzer.tallies.values())))
    return int(any(tally.failed for tally in fuzzer.tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
