"""Keep the measures of a training: one JSON line a step, and the same for TensorBoard.

The JSON lines are the truth; event files are made from them and may be thrown away.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from ..errors import UserError

Row = dict[str, float]


class MetricsLog:
    """Append measures to ``jsonl`` and to event files in ``tensorboard/prefix``.

    Rows of ``start`` and later steps, and a torn last line, are what a killed run left behind its
    last checkpoint: they are dropped, so that a resumed run writes the same file as one that was
    never stopped. ``tensorboard=None`` writes no event files.
    """

    def __init__(self, jsonl: Path, tensorboard: Path | None, prefix: str, start: int = 0):
        jsonl.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read(jsonl) if row["step"] < start] if jsonl.exists() else []
        _rewrite(jsonl, kept)
        self._events = _Events(tensorboard / prefix, prefix, kept) if tensorboard else None
        self._file = jsonl.open("a", encoding="utf-8")

    def write(self, step: int, **values: float) -> None:
        """Append one row and hand it to the system at once: a kill loses at most this row."""
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self._file.write(_line(row))
        self._file.flush()
        if self._events:
            self._events.write(row)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


def read(jsonl: Path) -> list[Row]:
    """Return the rows of a journal in the order they were written, without a torn last line.

    Raises UserError when the file is missing or a whole line is not a row.
    """
    try:
        lines = jsonl.read_bytes().split(b"\n")
    except OSError as err:
        raise UserError(f"{jsonl}: cannot be read: {err.strerror}") from err
    return [_row(jsonl, number, line) for number, line in enumerate(lines[:-1], 1)]


def export(jsonl: Path, tensorboard: Path, prefix: str) -> None:
    """Make the event file of a finished journal anew, as for a stage that was cached."""
    rows = read(jsonl)
    for old in (tensorboard / prefix).glob("events.out.tfevents.*"):
        old.unlink()
    _Events(tensorboard / prefix, prefix, rows).close()


def _row(jsonl: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as err:
        raise UserError(f"{jsonl}:{number}: not a JSON line; run the stage anew") from err
    numbers = isinstance(row, dict) and all(isinstance(v, int | float) for v in row.values())
    if not numbers or not isinstance(row.get("step"), int):
        raise UserError(f"{jsonl}:{number}: not a row of numbers with a step; run the stage anew")
    return {str(name): value for name, value in row.items()}


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"


def _rewrite(jsonl: Path, rows: Iterable[Row]) -> None:
    part = jsonl.with_name(f"{jsonl.name}.{os.getpid()}.part")
    part.write_text("".join(map(_line, rows)), encoding="utf-8")
    part.replace(jsonl)  # atomic: a reader sees the old rows or the kept ones


class _Events:
    """Write one event file, without TensorBoard's threads, that stands for all before it.

    It opens with a restart at step 0, upon which TensorBoard drops what older files of the folder
    held; hence a folder for each prefix. The older files stay: one that watches cannot leave a
    file that is gone.
    """

    def __init__(self, folder: Path, prefix: str, rows: Iterable[Row]):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns():020}.{socket.gethostname()}.{os.getpid()}"
        self._prefix = prefix
        self._file: BinaryIO = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        restart = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._add(Event(wall_time=time.time(), step=0, session_log=restart))
        for row in rows:
            self.write(row)

    def write(self, row: Mapping[str, float]) -> None:
        values = [
            Summary.Value(tag=f"{self._prefix}/{name}", simple_value=value)
            for name, value in row.items()
            if name != "step"
        ]
        summary = Summary(value=values)
        self._add(Event(wall_time=time.time(), step=int(row["step"]), summary=summary))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
