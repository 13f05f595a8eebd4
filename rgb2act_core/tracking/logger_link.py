"""One logger of a run: start it when there is something to send, and send each row once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from ..interfaces import LoggedRun, LoggedStage, Logger
from .channel import Channel
from .sent import Sent, SentStage

Row = Mapping[str, float]


@attrs.frozen(eq=False, kw_only=True)
class RunInfo:
    """What all loggers of a run receive at the start."""

    name: str
    root: Path
    spec: Mapping[str, str | int | float | bool]
    text: str


class LoggerLink:
    """A logger, the thread that calls it, and what it has received.

    Args:
        label: name of the logger in messages and of its folder.
        build: returns the logger; called in its thread.
        folder: folder of the logger in the run's folder.
        run: what the logger receives at the start.
    """

    def __init__(self, label: str, build: Callable[[], Logger], folder: Path, run: RunInfo) -> None:
        self.label = label
        self._build, self._folder, self._run = build, folder, run
        self._sent = Sent(folder / "sent.json")
        self._channel: Channel | None = None
        self._logger: Logger | None = None
        self._streamed: set[str] = set()  # stages whose rows this process sends

    def complete(self, stage: str, key: str) -> bool:
        """Return whether the logger needs nothing more of a stage."""
        return self._sent.complete(stage, key)

    def streams(self, stage: str) -> bool:
        """Return whether this process has sent the rows of a stage."""
        return stage in self._streamed

    def send_rows(self, stage: str, key: str, rows: Sequence[Row]) -> None:
        """Send the first rows of a stage: all of them, or those that were not sent before."""
        self._streamed.add(stage)

        def call() -> None:
            sent = self._sent.of(stage, key)
            first = 0 if self._started.replays else sent.rows
            for index in range(first, len(rows)):
                self._log(stage, sent, index, rows[index])

        self._send(call)

    def send_row(self, stage: str, key: str, index: int, row: Row) -> None:
        """Send row number ``index`` of a stage, unless an earlier process sent it."""

        def call() -> None:
            sent = self._sent.of(stage, key)
            if self._started.replays or index >= sent.rows:
                self._log(stage, sent, index, row)

        self._send(call)

    def send_results(self, stage: LoggedStage, key: str) -> None:
        """Send the results of a stage, which is then complete."""

        def call() -> None:
            self._started.log_stage(stage)
            self._sent.of(stage.name, key).complete = True
            self._sent.save()

        self._send(call)

    def finish(self, complete: bool) -> None:
        """Let the logger disconnect if it was started; return at once."""
        if self._channel is not None:
            self._send(lambda: self._started.finish(complete))
            self._channel.end()

    def wait(self, seconds: float) -> None:
        """Wait for the logger to disconnect, but not longer than ``seconds``."""
        if self._channel is not None:
            self._channel.wait(seconds)

    @property
    def _started(self) -> Logger:
        assert self._logger is not None
        return self._logger

    def _log(self, stage: str, sent: SentStage, index: int, row: Row) -> None:
        """Log a row; one that a logger appends is noted before, so that it is never sent twice."""
        sent.rows = index + 1
        if not self._started.replays:
            self._sent.save()
        values = {name: value for name, value in row.items() if name != "step"}
        self._started.log_metrics(stage, int(row["step"]), values)

    def _send(self, call: Callable[[], None]) -> None:
        if self._channel is None:
            self._channel = Channel(self.label)
            self._channel.send(self._start)
        self._channel.send(call)

    def _start(self) -> None:
        logger = self._build()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sent.save()
        logger.start(
            LoggedRun(
                name=self._run.name,
                id=self._sent.id,
                folder=self._folder,
                root=self._run.root,
                spec=self._run.spec,
                text=self._run.text,
            )
        )
        self._logger = logger
