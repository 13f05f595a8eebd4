"""Loggers receive each row once, and one that fails or blocks changes nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core import Component
from rgb2act_core.interfaces import LoggedRun, LoggedStage
from rgb2act_core.spec import LoggerChoice
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.tracking import channel, tracker
from rgb2act_core.tracking.tracker import Tracker, flat

EXAMPLE = Path(__file__).parents[2] / "examples/smoke.toml"
ROWS = [{"step": step, "loss": step / 2} for step in range(6)]


@attrs.frozen(kw_only=True)
class Options:
    replays: bool = False


class Recorder:
    """A logger that notes its calls; ``before`` is called at the beginning of each."""

    def __init__(self, calls: list[Any], before: Callable[[str], object], replays: bool) -> None:
        self.calls, self.before, self.replays = calls, before, replays

    def start(self, run: LoggedRun) -> None:
        self.note("start", run)

    def log_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.note("row", stage, step, dict(values))

    def log_stage(self, stage: LoggedStage) -> None:
        self.note("stage", stage.name, dict(stage.values))

    def finish(self, complete: bool) -> None:
        self.note("finish", complete)

    def note(self, name: str, *values: Any) -> None:
        self.before(name)
        self.calls.append((name, *values))


class Site:
    """A spec with loggers that note their calls, and what they noted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, list[Any]()
        self.before: Callable[[str], object] = lambda name: None
        self.spec = read_spec(EXAMPLE)

    def logger(self, name: str = "notes", replays: bool = False) -> LoggerChoice:
        def build(config: Options) -> Recorder:
            return Recorder(self.calls, self.before, config.replays)

        tiny = Options(replays=replays)
        component = Component(name=name, config=Options, build=build, tiny=tiny)
        return LoggerChoice(component=component, config=tiny)

    def open(self, *loggers: LoggerChoice) -> Tracker:
        chosen = loggers or (self.logger(),)
        return Tracker(attrs.evolve(self.spec, log=chosen), self.folder, self.folder)

    def rows(self) -> list[int]:
        return [call[2] for call in self.calls if call[0] == "row"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def train(opened: Tracker, first: int, end: int, key: str = "k") -> None:
    """Train from step ``first`` on, as a process does, and stop before ``end``."""
    curves = opened.stage("train", key)
    curves.start(ROWS[:first])
    for row in ROWS[first:end]:
        curves.add(row)


def finish(opened: Tracker, key: str = "k") -> None:
    values = {"loss": 2.5}
    opened.add("train", key, lambda: ROWS, lambda: LoggedStage(name="train", values=values))


def test_a_logger_receives_run_rows_and_results(site: Site) -> None:
    with site.open() as opened:
        train(opened, 0, 2)
        finish(opened)
    (_, run), *calls = site.calls
    assert run.name == "smoke"
    assert run.spec["policy.steps"] == 60
    assert run.spec["backbone.1.use"] == "randconv"
    assert 'use = "tabletop"' in run.text
    assert run.folder == site.folder / "notes"
    assert calls == [
        ("row", "train", 0, {"loss": 0.0}),
        ("row", "train", 1, {"loss": 0.5}),
        ("stage", "train", {"loss": 2.5}),
        ("finish", True),
    ]


def test_a_resumed_run_sends_no_row_twice(site: Site) -> None:
    with site.open() as opened:
        train(opened, 0, 5)  # the checkpoint is that of step 2
    with site.open() as opened:
        train(opened, 2, 6)
        finish(opened)
    assert site.rows() == [0, 1, 2, 3, 4, 5]
    runs = [call[1] for call in site.calls if call[0] == "start"]
    assert runs[0].id == runs[1].id


def test_a_logger_that_replays_receives_all_rows_again(site: Site) -> None:
    replays = site.logger(replays=True)
    with site.open(replays) as opened:
        train(opened, 0, 3)
    with site.open(replays) as opened:
        train(opened, 1, 4)
        finish(opened)
    assert site.rows() == [0, 1, 2, 0, 1, 2, 3]


def test_a_stopped_run_is_not_complete(site: Site) -> None:
    def stop() -> None:
        with site.open() as opened:
            train(opened, 0, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert site.calls[-1] == ("finish", False)


def test_a_logger_with_everything_is_not_started_again(site: Site) -> None:
    for _ in range(2):
        with site.open() as opened:
            finish(opened)
    assert [call[0] for call in site.calls].count("start") == 1


def test_a_logger_that_is_added_later_receives_a_cached_stage(site: Site) -> None:
    with site.open() as opened:
        finish(opened)
    site.calls.clear()
    with site.open(site.logger(), site.logger("other")) as opened:
        finish(opened)
    assert site.rows() == [0, 1, 2, 3, 4, 5]
    assert [call[1].folder.name for call in site.calls if call[0] == "start"] == ["other"]


def test_two_loggers_of_one_kind_have_their_own_folders(site: Site) -> None:
    with site.open(site.logger(), site.logger()) as opened:
        finish(opened)
    folders = {call[1].folder.name for call in site.calls if call[0] == "start"}
    assert folders == {"notes", "notes-2"}


@pytest.mark.parametrize("method", ["start", "row", "stage", "finish"])
def test_a_logger_that_fails_is_reported_once_and_left_out(
    site: Site, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        if name == method:
            raise RuntimeError("no space\nleft")

    site.before = fail
    with site.open() as opened:
        train(opened, 0, 6)
        finish(opened)
    assert capsys.readouterr().err == (
        "warning: logger notes: RuntimeError: no space; the run continues without it\n"
    )


def test_what_a_failed_logger_lacks_is_sent_by_the_next_process(site: Site) -> None:
    def fail(name: str) -> None:
        if name == "stage":
            raise OSError("offline")

    site.before = fail
    with site.open() as opened:
        finish(opened)
    site.before = lambda name: None
    with site.open() as opened:
        finish(opened)
    assert site.rows() == [0, 1, 2, 3, 4, 5]
    assert ("stage", "train", {"loss": 2.5}) in site.calls


def test_a_logger_that_blocks_is_left_after_a_while(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracker, "CLOSE_SECONDS", 0.05)
    released = threading.Event()
    site.before = lambda name: released.wait(60)
    with site.open() as opened:
        finish(opened)
    released.set()
    assert capsys.readouterr().err == (
        "warning: logger notes: did not finish in time; the run continues without it\n"
    )


def test_a_logger_that_does_not_keep_up_is_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channel, "LARGEST_BACKLOG", 3)
    released = threading.Event()
    site.before = lambda name: released.wait(60)
    with site.open() as opened:
        train(opened, 0, 6)
    released.set()
    assert capsys.readouterr().err == (
        "warning: logger notes: does not respond: 3 entries wait; the run continues without it\n"
    )


def test_a_damaged_record_starts_a_new_run_of_the_logger(site: Site) -> None:
    with site.open() as opened:
        finish(opened)
    (site.folder / "notes/sent.json").write_text("{")
    with site.open() as opened:
        finish(opened)
    assert site.rows() == [*range(6), *range(6)]


def test_values_are_named_by_their_path() -> None:
    data = {"a": {"b": [1, 2], "c": None}, "d": [{"use": "x"}], "e": True}
    assert dict(flat(data)) == {"a.b": "[1, 2]", "d.0.use": "x", "e": True}
