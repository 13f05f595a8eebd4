"""``rgb2act inspect`` from the command line, and the run of the spec that it writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rgb2act_process
from PIL import Image
from robotwin_episodes import TASK, write_layout, write_legacy, write_newer

EXAMPLE = Path(__file__).parents[4] / "examples" / "robotwin_recorded.toml"
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = rgb2act_process.run(args, {"COLUMNS": "200"}, cwd=tmp_path, timeout=280)
        assert done.returncode == code, done.stderr or done.stdout
        return done

    return run


def test_the_summary_lists_everything(tmp_path: Path, layout: str, cli: Cli) -> None:
    for number in (0, 1, 3):
        write_layout(tmp_path / "data", layout, number)
    output = cli("inspect", "data").stdout
    for message in (
        layout,
        f"{TASK} (3)",
        "3, 3 of them intact",
        "demo_clean-episode_0000002",  # missing
        "head_camera  24 x 32",
        "left_joint1    0.010   3.050",
        "swapped (30)",
    ):
        assert message in output, output


def test_damage_is_listed_and_sets_the_exit_code(tmp_path: Path, cli: Cli) -> None:
    write_legacy(tmp_path / "data", true_rgb=True)
    path = write_legacy(tmp_path / "data", 1)
    with h5py.File(path, "r+") as file:
        file["observation/head_camera/rgb"][2] = b"nothing"
    output = cli("inspect", "data", code=1).stdout
    assert "observation/head_camera/rgb: frame 2: is not a JPEG" in output
    assert "2, 1 of them intact" in output
    found = json.loads(cli("inspect", "data", "--json", code=1).stdout)
    assert [len(episode["problems"]) for episode in found["episodes"]] == [0, 1]
    assert found["environment"]["skip"] == ["demo_clean-episode_0000001"]
    assert found["cameras"]["head_camera"] == [[24, 32]]
    assert len(found["actions"]) == 14


def test_the_written_spec_passes_check(tmp_path: Path, layout: str, cli: Cli) -> None:
    write_layout(tmp_path / "data", layout)
    broken = write_layout(tmp_path / "data", layout, 1)
    broken.write_bytes(broken.read_bytes()[:900])
    (tmp_path / "specs").mkdir()
    cli("inspect", "data", "--write-spec", "specs/a.toml", code=1)
    text = (tmp_path / "specs" / "a.toml").read_text()
    assert 'data = "../data"' in text
    assert f'condition = "{"single_backbone" if layout == "head" else "aligned"}"' in text
    output = cli("check", "specs/a.toml", "--no-time").stdout
    assert "extract/patchstats  1 episode to encode" in output
    assert "\nact " not in output
    again = cli("inspect", "data", "--write-spec", "specs/a.toml", code=2).stderr
    assert "specs/a.toml: already exists" in again


def test_a_stride_is_suggested_and_written(tmp_path: Path, cli: Cli) -> None:
    joints_RA = np.zeros((201, 14))
    joints_RA[100:, 1] = 0.061 * np.arange(101)  # the first half is still
    write_legacy(tmp_path / "data", rows=len(joints_RA), joints=joints_RA)
    output = cli("inspect", "data", "--write-spec", "a.toml").stdout
    for message in (
        "rad per frame (median), 95% at most 0.061 rad",
        "50%; 50% have exactly equal joints",
        "200 per episode, 69 s",
        "stride = 4, duplicates = 'drop': 26 actions, 25 s",
    ):
        assert message in output, output
    text = (tmp_path / "a.toml").read_text()
    assert 'duplicates = "drop"\nstride = 4\n' in text
    motion = json.loads(cli("inspect", "data", "--json").stdout)["motion"]
    assert (motion["stride"], motion["drop_still"]) == (4, True)
    assert "26 frames" in cli("check", "a.toml", "--no-time").stdout


def test_contact_sheet_has_a_row_per_camera(tmp_path: Path, cli: Cli) -> None:
    write_newer(tmp_path / "data")
    cli("inspect", "data", "--sheet", "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * (32 + 2), 2 * (24 + 14 + 2))
        red, _, blue = sheet.getpixel((3, 20))  # type: ignore[misc]
        assert red > 100 > blue


@pytest.mark.parametrize("made", ["nothing", "other"])
def test_a_path_without_episodes_is_an_error(tmp_path: Path, made: str, cli: Cli) -> None:
    if made == "other":
        (tmp_path / "x").mkdir()
        with h5py.File(tmp_path / "x" / "model1.hdf5", "w") as file:
            file["weights"] = [1.0]
    output = cli("inspect", "x", code=2).stderr
    assert output.startswith("x: ")
    assert "no such file" in output or "no installed plugin finds episodes" in output


def test_planned_segments_are_an_error(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "_traj_data").mkdir()
    assert "planned arm segments" in cli("inspect", "_traj_data", code=2).stderr


@pytest.mark.slow
def test_example_on_recorded_data_trains(tmp_path: Path, cli: Cli) -> None:
    cli("train", EXAMPLE, "--root", tmp_path / "runs")
    record = json.loads((tmp_path / "runs" / "robotwin-recorded" / "1" / "run.json").read_text())
    assert [stage["stage"] for stage in record["stages"]] == [
        "collect",
        "extract/patchstats",
        "extract/randconv",
        "teacher/cloudstats",
        "align",
        "train",
    ]
    refused = cli("run", EXAMPLE, "--root", tmp_path / "runs", code=2).stderr
    assert "beat_block_hammer has recorded episodes only" in refused
