"""The loggers of a run, and what each of them still needs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from ..interfaces import LoggedStage
from ..plugins import registry
from ..plugins.components import Kind
from ..spec import Choice, LoggerChoice, Spec
from ..spec.reader import unstructure
from .logger_link import LoggerLink, Row, RunInfo

DEFAULT = "tensorboard"  # the logger of a spec without [[log]]
CLOSE_SECONDS = 60.0  # that a run waits for its loggers at the end
STOP_SECONDS = 5.0  # that a stopped run waits for them


class Tracker:
    """All loggers of a run.

    A logger starts when there is something that it has not received. It never raises: a logger
    that fails is reported once and left out.

    Args:
        spec: the run's spec.
        folder: folder of the run.
        root: folder of all runs.
        logged: whether anything is sent to the loggers.
    """

    def __init__(self, spec: Spec, folder: Path, root: Path, logged: bool = True) -> None:
        run, choices = _info(spec, root), spec.log or (_default(),)
        self._links = [
            LoggerLink(label, choice.build, folder / label, run)
            for label, choice in _labelled(choices if logged else ())
        ]

    def stage(self, name: str, key: str) -> StageCurves:
        """Return what receives the curves of a stage while it trains."""
        return StageCurves(self._links, name, key)

    def add(
        self,
        name: str,
        key: str,
        rows: Callable[[], Sequence[Row]],
        results: Callable[[], LoggedStage],
    ) -> None:
        """Send the results of a finished stage to the loggers that do not have them.

        ``rows`` reads its curves, for loggers that did not receive them while it trained.
        """
        if not (links := [link for link in self._links if not link.complete(name, key)]):
            return
        curves, stage = rows(), results()
        for link in links:
            if not link.streams(name):
                link.send_rows(name, key, curves)
            link.send_results(stage, key)

    def close(self, complete: bool) -> None:
        """Disconnect all loggers that were started."""
        for link in self._links:
            link.finish(complete)
        end = time.monotonic() + (CLOSE_SECONDS if complete else STOP_SECONDS)
        for link in self._links:
            link.wait(max(end - time.monotonic(), 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close(complete=err is None)


class StageCurves:
    """Receives the rows of a stage's learning curves."""

    def __init__(self, links: Sequence[LoggerLink], name: str, key: str) -> None:
        self._links, self._name, self._key, self._count = links, name, key, 0

    def start(self, rows: Sequence[Row]) -> None:
        """Send the rows from before an interruption."""
        self._count = len(rows)
        for link in self._links:
            link.send_rows(self._name, self._key, rows)

    def add(self, row: Row) -> None:
        """Send the next row."""
        for link in self._links:
            link.send_row(self._name, self._key, self._count, row)
        self._count += 1


def _default() -> LoggerChoice:
    component = registry.find(Kind.LOGGER, DEFAULT)
    return LoggerChoice(component=component, config=component.config())


def _labelled(choices: Sequence[Choice]) -> Iterator[tuple[str, Choice]]:
    """Yield each logger with a name of its own: ``mlflow``, then ``mlflow-2``."""
    counts: Counter[str] = Counter()
    for choice in choices:
        name = choice.component.name
        counts[name] += 1
        yield (name if counts[name] == 1 else f"{name}-{counts[name]}"), choice


def _info(spec: Spec, root: Path) -> RunInfo:
    plain = unstructure(spec, runtime=False, root=root)
    return RunInfo(
        name=spec.name, root=root, spec=dict(flat(plain)), text=tomli_w.dumps(without_none(plain))
    )


def flat(data: Any, path: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Yield each value of plain data with its path, such as ``backbone.0.use``."""
    if isinstance(data, Mapping):
        items = [(str(name), item) for name, item in data.items()]
    elif isinstance(data, list) and any(isinstance(item, Mapping | list) for item in data):
        items = [(str(number), item) for number, item in enumerate(data)]
    else:
        if data is not None:
            yield path, data if isinstance(data, str | int | float | bool) else str(data)
        return
    for name, item in items:
        yield from flat(item, f"{path}.{name}".lstrip("."))


def without_none(data: Any) -> Any:
    """Return plain data without None, which TOML lacks."""
    if isinstance(data, Mapping):
        return {name: without_none(item) for name, item in data.items() if item is not None}
    return [without_none(item) for item in data] if isinstance(data, list) else data
