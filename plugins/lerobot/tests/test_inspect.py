"""``rgb2act inspect`` and the spec that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rgb2act_lerobot.recorded.summary import summarize

from rgb2act_core import UserError, read_spec
from rgb2act_core.cli import main

DATA = Path(__file__).parent / "data"


def facts(path: Path) -> dict[str, str]:
    found = summarize(path)
    assert found is not None
    return dict(found.facts)


def test_other_folders_are_no_lerobot_data_sets(tmp_path: Path) -> None:
    assert summarize(tmp_path) is None


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
    assert found is not None
    assert found.missing == ("episode_000003",)
    assert "counted but not listed" in found.episodes[3].problems[0]
