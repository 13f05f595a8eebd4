"""Metrics of a training run, one JSON line per row, mirrored to TensorBoard event files.

The JSON lines are authoritative. Event files are derived from them and may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import UserError
from ..store.files import write_text
from ..system.input_files import parse_json, read_regular

Row = dict[str, float]


class MetricsLog:
    """Append metrics to a JSON lines file and to event files in ``tensorboard/prefix``.

    An interrupted run may have logged steps after its last checkpoint. A resumed run drops them,
    and an incomplete last line, so that its file equals that of an uninterrupted run.

    Args:
        jsonl: path of the JSON lines file.
        tensorboard: folder of the event files; None writes none.
        prefix: subfolder of the event files and first part of their tags.
        start: step that the run starts at; rows from this step on are dropped.
    """

    def __init__(self, jsonl: Path, tensorboard: Path | None, prefix: str, start: int = 0) -> None:
        jsonl.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for row in read(jsonl) if row["step"] < start] if jsonl.exists() else []
        _rewrite(jsonl, rows)
        self._events = _EventFile(tensorboard / prefix, prefix, rows) if tensorboard else None
        self._file = jsonl.open("a", encoding="utf-8")

    def write(self, step: int, **values: float) -> None:
        """Append one row and flush it, so that a killed process loses at most this row."""
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
    """Return the rows of a metrics file in file order, without an incomplete last line.

    Raises UserError if the file is missing or a complete line is not a row of numbers.
    """
    try:
        lines = read_regular(jsonl).split(b"\n")
    except OSError as err:
        raise UserError(f"{jsonl}: cannot be read: {err.strerror}") from err
    return [_row(jsonl, number, line) for number, line in enumerate(lines[:-1], 1)]


def export_tensorboard(jsonl: Path, tensorboard: Path, prefix: str) -> None:
    """Replace the event files in ``tensorboard/prefix`` by one with all rows of a metrics file.

    This shows the curves of a cached stage in the run that reuses it.
    """
    rows = read(jsonl)
    for old in (tensorboard / prefix).glob("events.out.tfevents.*"):
        old.unlink()
    _EventFile(tensorboard / prefix, prefix, rows).close()


def _row(jsonl: Path, number: int, line: bytes) -> Row:
    try:
        row = parse_json(line)
    except ValueError as err:
        raise UserError(
            f"{jsonl}:{number}: not a JSON line; delete the stage's folder and run again"
        ) from err
    numbers = isinstance(row, dict) and all(isinstance(v, int | float) for v in row.values())
    if not numbers or not isinstance(row.get("step"), int):
        raise UserError(
            f"{jsonl}:{number}: not a row of numbers with a step; delete the stage's folder and run"
            " again"
        )
    return {str(name): value for name, value in row.items()}


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"


def _rewrite(jsonl: Path, rows: Iterable[Row]) -> None:
    write_text(jsonl, "".join(map(_line, rows)))


class _EventFile:
    """One event file that supersedes all older ones in its folder.

    It starts with all rows so far, because the older files may belong to another run's folder, and
    with ``purge_step=0``, which makes TensorBoard drop what it has read from the older files. These
    are kept: a running TensorBoard does not leave a deleted file.
    """

    def __init__(self, folder: Path, prefix: str, rows: Iterable[Row]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._prefix = prefix
        self._writer = SummaryWriter(str(folder), purge_step=0)
        for row in rows:
            self._add(row)
        self._writer.flush()

    def write(self, row: Mapping[str, float]) -> None:
        self._add(row)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{self._prefix}/{name}", value, int(row["step"]))
