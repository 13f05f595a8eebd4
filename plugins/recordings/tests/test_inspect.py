"""``rgb2act inspect`` summarises each format, and writes a spec that opens it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from recorded_files import write_aloha, write_buffer, write_robomimic

from rgb2act_core.cli import main
from rgb2act_core.spec.reader import read_spec


def _damaged_aloha(path: Path) -> Path:
    folder = write_aloha(path, episodes=4)
    (folder / "episode_2.hdf5").unlink()
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        del file["action"]
    return folder


@pytest.mark.parametrize(
    ("write", "name", "code", "expected"),
    [
        (_damaged_aloha, "cube", 1, {"skip": ("episode_1",)}),
        (write_robomimic, "demo.hdf5", 0, {"actions": "next_state"}),
        (
            write_buffer,
            "pusht.zarr",
            0,
            {"joints": ("state[0:2]",), "control_hz": 10.0, "actions": "absolute"},
        ),
        (write_buffer, "pusht.zarr.zip", 0, {"joints": ("state[0:2]",)}),
    ],
)
def test_the_written_spec_opens_the_intact_episodes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], Path],
    name: str,
    code: int,
    expected: dict[str, Any],
) -> None:
    path, spec, sheet = write(tmp_path / name), tmp_path / "spec.toml", tmp_path / "sheet.png"
    command = ["inspect", str(path), "--json", "--write-spec", str(spec), "--sheet", str(sheet)]
    assert main(command) == code
    found = json.loads(capsys.readouterr().out)
    (choice,) = read_spec(spec).environments
    assert {key: getattr(choice.config, key) for key in expected} == expected
    intact = [episode["name"] for episode in found["episodes"] if not episode["problems"]]
    assert [episode.name for episode in choice.build().recorded()] == intact
    assert sheet.stat().st_size > 0


def test_facts_name_what_actions_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def facts(path: Path) -> dict[str, str]:
        main(["inspect", str(path), "--json"])
        return dict(json.loads(capsys.readouterr().out)["facts"])

    aloha = facts(write_aloha(tmp_path / "aloha", compress=True))
    assert aloha["recorded in"] == "a simulation"
    assert aloha["images"] == "JPEG"
    assert aloha["frame rate"] == "50 Hz"
    assert aloha["action is"].startswith("the state of the next frame")
    robomimic = facts(write_robomimic(tmp_path / "demo.hdf5"))
    assert robomimic["action is"].startswith("not used (OSC_POSE)")
    assert robomimic["filters"] == "train"
    assert facts(write_buffer(tmp_path / "one.zarr"))["frame rate"].startswith("not recorded")


def test_missing_and_damaged_episodes_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", str(_damaged_aloha(tmp_path / "cube")), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["missing"] == ["episode_2"]
    assert [len(episode["problems"]) for episode in found["episodes"]] == [0, 1, 0]
    assert "episode_1.hdf5: action: is missing" in found["episodes"][1]["problems"][0]


def test_an_array_that_is_not_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_buffer(tmp_path / "one.zarr")
    file = path / "data/img/.zarray"
    edited = json.loads(file.read_text()) | {"compressor": {"id": "imagecodecs_jpeg2k"}}
    file.write_text(json.dumps(edited))
    main(["inspect", str(path)])
    assert "is compressed with 'imagecodecs_jpeg2k'" in " ".join(capsys.readouterr().out.split())
