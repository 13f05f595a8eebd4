from __future__ import annotations

import subprocess
import sys

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.training.metrics_log import MetricsLog, read


def write(path, steps, start=0, curves=None):
    with MetricsLog(path, curves, start) as log:
        for step in steps:
            log.write(step, loss=step / 4, **{"weight/croco": 0.5})


def test_rows_are_read_back(tmp_path):
    write(tmp_path / "m.jsonl", range(3))
    assert read(tmp_path / "m.jsonl")[2] == {"step": 2, "loss": 0.5, "weight/croco": 0.5}


def test_rows_are_on_disk_before_the_log_is_closed(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write(0, loss=1.0)
    assert read(tmp_path / "m.jsonl") == [{"step": 0, "loss": 1.0}]
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


class Received(list):
    """Rows that a log passed on."""

    start = list.extend
    add = list.append


def test_a_resumed_log_passes_on_the_rows_that_it_keeps_and_the_new_ones(tmp_path):
    rows = Received()
    write(tmp_path / "m.jsonl", range(5))
    write(tmp_path / "m.jsonl", range(3, 6), start=3, curves=rows)
    assert rows == read(tmp_path / "m.jsonl")


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


def test_reading_metrics_needs_neither_torch_nor_tensorboard():
    code = (
        "import sys; import rgb2act_core.training.metrics_log as _;"
        " assert not {'torch', 'tensorboard', 'tensorflow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
