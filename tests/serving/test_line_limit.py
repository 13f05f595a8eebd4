"""Lines about clients: few per second, short, and without control characters."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from rgb2act_core.serving import client_log
from rgb2act_core.serving.line_limit import LENGTH, LINES, ClientLog

Printed = Callable[[], list[str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock; the element is the time in seconds."""
    now = [5.0]
    monkeypatch.setattr("rgb2act_core.serving.line_limit.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Return a function that returns the lines since its last call."""
    return lambda: capsys.readouterr().err.splitlines()


def test_lines_above_the_limit_are_counted(clock: list[float], printed: Printed) -> None:
    log = ClientLog()
    for i in range(1000):
        log.print(f"client {i} disconnected")
    assert printed() == [f"client {i} disconnected" for i in range(LINES)]
    clock[0] += 1
    log.print("client a disconnected")
    assert printed() == [f"{1000 - LINES} more lines about clients", "client a disconnected"]
    log.close()
    assert printed() == []


def test_lines_that_were_only_counted_are_printed_at_the_end(
    clock: list[float], printed: Printed
) -> None:
    log = ClientLog()
    for _ in range(LINES + 3):
        log.print("client disconnected")
    log.close()
    assert printed()[-1] == "3 more lines about clients"


def test_text_of_clients_stays_one_short_line(printed: Printed) -> None:
    log = ClientLog()
    log.print("a\n\x1b[2Jb " + "x" * 10**6)
    (line,) = printed()
    assert line.startswith(r"a\n\x1b[2Jb xxx")
    assert line.endswith("x ...")
    assert len(line) < LENGTH + 20


def test_a_closed_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    client_log.print("client disconnected")
