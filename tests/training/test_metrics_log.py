from __future__ import annotations

import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rgb2act_core.errors import UserError
from rgb2act_core.training.metrics_log import MetricsLog, export, read


def scalars(folder, tag):
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def write(path, steps, tensorboard=None, start=0):
    with MetricsLog(path, tensorboard, "align", start) as journal:
        for step in steps:
            journal.write(step, loss=step / 4, **{"weight/croco": 0.5})


def test_rows_come_back(tmp_path):
    write(tmp_path / "m.jsonl", range(3))
    assert read(tmp_path / "m.jsonl")[2] == {"step": 2, "loss": 0.5, "weight/croco": 0.5}


def test_rows_are_on_disk_before_close(tmp_path):
    journal = MetricsLog(tmp_path / "m.jsonl", None, "train")
    journal.write(0, loss=1.0)
    assert read(tmp_path / "m.jsonl") == [{"step": 0, "loss": 1.0}]
    journal.close()


def test_resumed_journal_equals_one_that_never_stopped(tmp_path):
    write(tmp_path / "whole.jsonl", range(10))
    write(tmp_path / "torn.jsonl", range(7))
    with (tmp_path / "torn.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    write(tmp_path / "torn.jsonl", range(4, 10), start=4)
    assert (tmp_path / "torn.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_new_start_forgets_old_rows(tmp_path):
    write(tmp_path / "m.jsonl", range(5))
    write(tmp_path / "m.jsonl", range(2))
    assert [row["step"] for row in read(tmp_path / "m.jsonl")] == [0, 1]


def test_torn_last_line_is_not_read(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 0, "loss": 2.0}\n{"step": 1')
    assert read(tmp_path / "m.jsonl") == [{"step": 0, "loss": 2.0}]


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1.0}', '{"step": 1, "loss": "low"}', "\xff"])
def test_broken_line_is_named(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(f'{{"step": 0}}\n{line}\n', encoding="latin-1")
    with pytest.raises(UserError, match=r"m\.jsonl:2: not a .*; run the stage anew"):
        read(tmp_path / "m.jsonl")


def test_missing_journal_is_named(tmp_path):
    with pytest.raises(UserError, match=r"m\.jsonl: cannot be read"):
        read(tmp_path / "m.jsonl")


def test_tensorboard_sees_each_row_once_after_resume(tmp_path):
    write(tmp_path / "m.jsonl", range(6), tmp_path / "tb")
    write(tmp_path / "m.jsonl", range(3, 6), tmp_path / "tb", start=3)
    assert scalars(tmp_path / "tb/align", "align/loss") == [(step, step / 4) for step in range(6)]


def test_a_watching_tensorboard_forgets_what_was_dropped(tmp_path):
    write(tmp_path / "m.jsonl", range(6), tmp_path / "tb")
    events = EventAccumulator(str(tmp_path / "tb/align"))
    events.Reload()
    write(tmp_path / "m.jsonl", [3], tmp_path / "tb", start=3)
    events.Reload()
    assert [event.step for event in events.Scalars("align/weight/croco")] == [0, 1, 2, 3]


def test_export_twice_gives_each_row_once(tmp_path):
    write(tmp_path / "m.jsonl", range(4))
    for _ in range(2):
        export(tmp_path / "m.jsonl", tmp_path / "tb", "align")
    assert scalars(tmp_path / "tb/align", "align/loss") == [(step, step / 4) for step in range(4)]


def test_import_brings_neither_torch_nor_warnings():
    code = (
        "import sys; import rgb2act_core.training.metrics_log as _;"
        " assert not {'torch', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
