"""``rgb2act inspect`` and the spec that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from rgb2act_lerobot import build, inspect
from rgb2act_lerobot.recorded import stored_images, videos
from rgb2act_lerobot.recorded.summary import summarize

from rgb2act_core import UserError, read_spec
from rgb2act_core.cli import main

DATA = Path(__file__).parent / "data"


def facts(path: Path) -> dict[str, str]:
    return dict(summarize(path).facts)


def test_other_folders_are_no_lerobot_data_sets(tmp_path: Path) -> None:
    assert inspect(tmp_path) is None


def test_older_versions_name_the_conversion() -> None:
    with pytest.raises(UserError, match="convert_dataset_v1_to_v2"):
        summarize(DATA / "v16_stub")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("v30_image", "the state of the next frame, bit by bit"),
        ("v30_video", "the state of the next frame, up to 0.001"),
        ("v30_pusht_h264_nostats", "the state of the next frame"),
    ],
)
def test_what_an_action_is(name: str, meaning: str) -> None:
    assert facts(DATA / name)["action is"].startswith(meaning)


def test_facts_of_tasks_depth_and_success() -> None:
    assert "episode_000003 at frame 4" in facts(DATA / "v30_chunked")["task changes within"]
    assert facts(DATA / "v30_depth_061")["depth cameras"].startswith("top_depth")
    assert facts(DATA / "v30_pusht_h264_nostats")["successful"].endswith("of 2 episodes")


def test_command_names_damage_by_file_and_writes_a_spec(
    copied: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied("v21_video")
    video = root / "videos/chunk-001/observation.images.top/episode_000002.mp4"
    video.unlink()
    spec, sheet = tmp_path / "spec.toml", tmp_path / "sheet.png"
    code = main(["inspect", str(root), "--json", "--write-spec", str(spec), "--sheet", str(sheet)])
    assert code == 1
    found = json.loads(capsys.readouterr().out)
    assert [len(episode["problems"]) for episode in found["episodes"]] == [0, 0, 1]
    assert f"{video}: is missing" in found["episodes"][2]["problems"][0]
    assert sheet.stat().st_size > 0
    (choice,) = read_spec(spec).environments
    assert choice.config.skip == ("episode_000002",)
    assert len(choice.build().recorded()) == 1  # of the most frequent task


def test_counted_but_unlisted_episodes_are_damage(copied: Any, edit_info: Any) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update(total_episodes=4))
    found = summarize(root)
    assert found.missing == ("episode_000003",)
    assert "counted but not listed" in found.episodes[3].problems[0]


@pytest.mark.parametrize(("factor", "largest"), [(90, 100.0), (200, None)])
def test_the_written_spec_has_the_range_of_grippers(
    copied: Any, edit_column: Any, tmp_path: Path, factor: float, largest: float | None
) -> None:
    root, spec = copied("v30_image"), tmp_path / "spec.toml"
    frames = root / "data/chunk-000/file-000.parquet"
    for name in ("observation.state", "action"):
        edit_column(frames, name, lambda rows: [[factor * v for v in row] for row in rows])
    assert main(["inspect", str(root), "--json", "--write-spec", str(spec)]) == 0
    (choice,) = read_spec(spec).environments
    episodes = build(attrs.evolve(choice.config, gripper_range=None)).recorded()
    reached = max(np.asarray(episode.joints)[:, [6, 13]].max() for episode in episodes)
    assert choice.config.gripper_range == (0, largest or pytest.approx(reached))


@pytest.mark.parametrize(
    ("name", "module", "reader"),
    [("v30_video", videos, "_packets"), ("v30_image", stored_images, "_opened")],
)
def test_inspect_reads_each_encoded_frame_once(
    copied: Any, monkeypatch: pytest.MonkeyPatch, name: str, module: Any, reader: str
) -> None:
    calls, original = [], getattr(module, reader)

    def counted(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    root = copied(name)
    monkeypatch.setattr(module, reader, counted)
    (environment,) = summarize(root).environments()
    episodes = environment.recorded()
    cameras = len(environment.info.cameras)
    frames = sum(episode.rgb.shape[0] for episode in episodes)
    assert len(calls) == cameras * (len(episodes) if name == "v30_video" else frames)


def test_a_data_set_without_cameras_is_named(
    copied: Any, edit_info: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied("v30_image")
    edit_info(root, lambda info: info["features"].pop("observation.images.top"))
    assert main(["inspect", str(root)]) == 1
    assert "has no camera; give a data set with videos or images" in capsys.readouterr().out
