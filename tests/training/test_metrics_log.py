from __future__ import annotations

import itertools
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rgb2act_core.errors import UserError
from rgb2act_core.training.metrics_log import MetricsLog, export_tensorboard, read


@pytest.fixture(autouse=True)
def one_second_per_event_file(monkeypatch):
    """Event files sort by the second they were opened in; resumed runs start seconds later."""
    from tensorboard.summary.writer import event_file_writer

    clock = itertools.count(int(time.time()))

    class Clock:
        time = staticmethod(lambda: next(clock))

    monkeypatch.setattr(event_file_writer, "time", Clock)


def scalars(folder, tag):
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def write(path, steps, tensorboard=None, start=0):
    with MetricsLog(path, tensorboard, "align", start) as log:
        for step in steps:
            log.write(step, loss=step / 4, **{"weight/croco": 0.5})


def test_rows_are_read_back(tmp_path):
    write(tmp_path / "m.jsonl", range(3))
    assert read(tmp_path / "m.jsonl")[2] == {"step": 2, "loss": 0.5, "weight/croco": 0.5}


def test_rows_are_on_disk_before_the_log_is_closed(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", tmp_path / "tb", "train")
    log.write(0, loss=1.0)
    assert read(tmp_path / "m.jsonl") == [{"step": 0, "loss": 1.0}]
    assert scalars(tmp_path / "tb/train", "train/loss") == [(0, 1.0)]
    log.close()


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path):
    write(tmp_path / "uninterrupted.jsonl", range(10))
    write(tmp_path / "resumed.jsonl", range(7))
    with (tmp_path / "resumed.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    write(tmp_path / "resumed.jsonl", range(4, 10), start=4)
    resumed, expected = (tmp_path / f"{name}.jsonl" for name in ("resumed", "uninterrupted"))
    assert resumed.read_bytes() == expected.read_bytes()


def test_a_run_from_the_start_drops_old_rows(tmp_path):
    write(tmp_path / "m.jsonl", range(5))
    write(tmp_path / "m.jsonl", range(2))
    assert [row["step"] for row in read(tmp_path / "m.jsonl")] == [0, 1]


def test_an_incomplete_last_line_is_not_read(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 0, "loss": 2.0}\n{"step": 1')
    assert read(tmp_path / "m.jsonl") == [{"step": 0, "loss": 2.0}]


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1.0}', '{"step": 1, "loss": "low"}', "\xff"])
def test_a_damaged_line_is_an_error_with_its_number(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(f'{{"step": 0}}\n{line}\n', encoding="latin-1")
    message = r"m\.jsonl:2: not a .*; delete the stage's folder and run again"
    with pytest.raises(UserError, match=message):
        read(tmp_path / "m.jsonl")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"m\.jsonl: cannot be read"):
        read(tmp_path / "m.jsonl")


def test_tensorboard_shows_each_row_once_after_a_resume(tmp_path):
    write(tmp_path / "m.jsonl", range(6), tmp_path / "tb")
    write(tmp_path / "m.jsonl", range(3, 5), tmp_path / "tb", start=3)
    assert scalars(tmp_path / "tb/align", "align/loss") == [(step, step / 4) for step in range(5)]


def test_a_run_resumed_with_another_tensorboard_folder_shows_all_rows(tmp_path):
    write(tmp_path / "m.jsonl", range(6), tmp_path / "tb")
    write(tmp_path / "m.jsonl", range(3, 6), tmp_path / "other", start=3)
    found = scalars(tmp_path / "other/align", "align/loss")
    assert found == [(step, step / 4) for step in range(6)]


def test_a_running_tensorboard_drops_the_steps_after_the_checkpoint(tmp_path):
    write(tmp_path / "m.jsonl", range(6), tmp_path / "tb")
    events = EventAccumulator(str(tmp_path / "tb/align"))
    events.Reload()
    write(tmp_path / "m.jsonl", [3], tmp_path / "tb", start=3)
    events.Reload()
    assert [event.step for event in events.Scalars("align/weight/croco")] == [0, 1, 2, 3]


def test_exporting_twice_shows_each_row_once(tmp_path):
    write(tmp_path / "m.jsonl", range(4))
    for _ in range(2):
        export_tensorboard(tmp_path / "m.jsonl", tmp_path / "tb", "align")
    assert scalars(tmp_path / "tb/align", "align/loss") == [(step, step / 4) for step in range(4)]


def test_reading_metrics_needs_neither_torch_nor_tensorboard():
    code = (
        "import sys; import rgb2act_core.training.metrics_log as _;"
        " assert not {'torch', 'tensorboard', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.slow
def test_writing_event_files_emits_no_warnings(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from rgb2act_core.training.metrics_log import MetricsLog\n"
        "folder = Path(sys.argv[1])\n"
        "with MetricsLog(folder / 'm.jsonl', folder / 'tb', 'align') as log:\n"
        "    log.write(0, loss=1.0)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
