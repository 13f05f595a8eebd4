"""Metrics of a training run, one JSON line per row, which loggers receive as they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ..errors import UserError
from ..store.files import write_text
from ..system.input_files import parse_json, read_regular

Row = dict[str, float]


class Curves(Protocol):
    """Receives the rows of a metrics file as they are written."""

    def start(self, rows: Sequence[Row]) -> None:
        """Receive the rows that a resumed run keeps; an empty list in a new run."""

    def add(self, row: Row) -> None:
        """Receive the next row."""


class MetricsLog:
    """Append metrics to a JSON lines file and pass them on.

    An interrupted run may have logged steps after its last checkpoint. A resumed run drops them,
    and an incomplete last line, so that its file equals that of an uninterrupted run.

    Args:
        jsonl: path of the JSON lines file.
        curves: receives the rows; None for nobody.
        start: step that the run starts at; rows from this step on are dropped.
    """

    def __init__(self, jsonl: Path, curves: Curves | None = None, start: int = 0) -> None:
        jsonl.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for row in read(jsonl) if row["step"] < start] if jsonl.exists() else []
        _rewrite(jsonl, rows)
        self._curves = curves
        self._file = jsonl.open("a", encoding="utf-8")
        if curves is not None:
            curves.start(rows)

    def write(self, step: int, **values: float) -> None:
        """Append one row and flush it, so that a killed process loses at most this row."""
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self._file.write(_line(row))
        self._file.flush()
        if self._curves is not None:
            self._curves.add(row)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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
