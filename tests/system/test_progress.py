from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from functools import partial

import pytest
from rich.console import Console

from rgb2act_core.system import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "_clock", lambda: now[0])
    return now


def test_lines_at_start_in_between_and_at_the_end(capsys, clock):
    with progress.progress_bar("align", 100, "steps") as advance:
        for _ in range(100):
            clock[0] += 0.25
            advance(loss=0.123456)
    assert capsys.readouterr().err.splitlines() == [
        "align: 0/100 steps",
        "align: 40/100 steps, 4.0 steps/s, 15.0 s left, loss 0.1235",
        "align: 80/100 steps, 4.0 steps/s, 5.0 s left, loss 0.1235",
        "align: 100/100 steps in 25.0 s, 4.0 steps/s, loss 0.1235",
    ]


def test_the_rate_counts_only_the_units_of_this_process(capsys, clock):
    with progress.progress_bar("train", 5000, "steps", done=4000) as advance:
        clock[0] += 4
        advance(1000)
    assert capsys.readouterr().err.splitlines() == [
        "train: 4,000/5,000 steps",
        "train: 5,000/5,000 steps in 4.0 s, 250 steps/s",
    ]


def test_a_bar_estimates_the_time_left_of_slow_steps(capsys, clock):
    with progress._bar("extract vggt", 10, "frames", 0) as advance:
        for _ in range(3):
            clock[0] += 100
            advance(2)
        (task,) = progress._live.tasks
        assert task.speed == pytest.approx(0.02)
        assert task.time_remaining == pytest.approx(200)


def test_a_failed_task_reports_its_progress(capsys, clock):
    def act():
        with progress.progress_bar("act", 8, "episodes") as advance:
            clock[0] += 3700
            advance(2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        act()
    assert capsys.readouterr().err.splitlines()[-1] == (
        "act: 2/8 episodes stopped after 1 h 1 min, 0.001 episodes/s"
    )


def test_stdout_stays_empty(capsys):
    with progress.progress_bar("outer", 1, "runs"), progress.progress_bar("inner", 0, "runs"):
        progress.say("a [bold] word")
    out, err = capsys.readouterr()
    assert out == ""
    assert "a [bold] word\n" in err


def test_a_quiet_block_prints_nothing_and_leaves_the_variables_as_they_were(capsys, monkeypatch):
    monkeypatch.delenv("RGB2ACT_QUIET", raising=False)
    monkeypatch.setenv("RGB2ACT_PROGRESS", "json")

    @progress.quiet()
    def interrupted():
        progress.say("hello")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == ""
    assert not os.environ["RGB2ACT_QUIET"]
    assert os.environ["RGB2ACT_PROGRESS"] == "json"


def test_quiet_mode_prints_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RGB2ACT_QUIET", "1")
    with progress.progress_bar("act", 8, "episodes") as advance:
        advance(3, loss=1.0)
        progress.say("nothing")
    assert capsys.readouterr().err == ""


def test_progress_as_json_is_one_object_a_line(capsys, monkeypatch):
    monkeypatch.setenv("RGB2ACT_PROGRESS", "json")
    with progress.progress_bar("train", 5, "steps", done=2) as advance:
        advance(3, loss=0.5)
        progress.say("a [bold] word")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["schema"] for line in lines} == {"rgb2act.progress/1"}
    first, message, last = lines
    assert (first["event"], first["state"], first["done"], first["total"]) == (
        "task",
        "running",
        2,
        5,
    )
    assert (message["event"], message["text"]) == ("message", "a [bold] word")
    assert (last["state"], last["done"], last["values"]) == ("ended", 5, {"loss": 0.5})


def test_task_that_fails_is_stopped(capsys, monkeypatch):
    monkeypatch.setenv("RGB2ACT_PROGRESS", "json")
    with pytest.raises(KeyError), progress.progress_bar("act", 8, "episodes"):
        raise KeyError
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["state"] == "stopped"


def test_units_that_end_at_once_have_no_rate(capsys, clock):
    with progress.progress_bar("act", 4, "episodes") as advance:
        clock[0] += 0.00001
        advance(4)
    assert capsys.readouterr().err.splitlines()[-1] == "act: 4/4 episodes in 0.0 s"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_bar_takes_one_line_of_a_terminal(monkeypatch, width):
    screen = io.StringIO()
    console = partial(Console, file=screen, force_terminal=True, width=width)
    monkeypatch.setattr(progress, "Console", lambda **options: console())
    with progress._bar("act end_to_end", 100, "episodes", 0) as advance:
        advance(93, success=0.9139)
        shown = progress._live.console.render_lines(progress._live.get_renderable())
    assert len(shown) == 1
    text = "".join(segment.text for segment in shown[0])
    assert "93/100" in text
    assert "success 0.9139" in text


ON_TERMINAL = """
from rgb2act_core.system import progress
print("answer")
try:
    with progress.progress_bar("outer", 2, "runs", done=1) as outer:
        with progress.progress_bar("inner", 3, "steps") as inner:
            inner(2, loss=0.5)
            progress.say("a line")
        outer()
        raise KeyError
except KeyError:
    pass
with progress.progress_bar("after", 1, "runs") as advance:
    advance()
"""


def test_a_terminal_shows_bars_and_gets_its_cursor_back(tmp_path):
    main, side = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "120"}
    (tmp_path / "main.py").write_text(ON_TERMINAL)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        stdout=subprocess.PIPE,
        stderr=side,
        env=environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    os.close(side)
    shown = os.read(main, 1 << 20).decode()
    os.close(main)
    assert done.stdout == b"answer\n"
    assert all(word in shown for word in ("outer", "2/3", "loss 0.5", "a line", "after"))
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2  # hidden, shown again
