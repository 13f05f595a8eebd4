"""Damaged files: one line that names the file, and the episode, camera and frame if known."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core import UserError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FRAMES = "data/chunk-000/file-000.parquet"
TOP = "videos/observation.images.top/chunk-000/file-000.mp4"


def refusal(environment: Any) -> str:
    """Return the messages with which an environment refuses its episodes."""
    with pytest.raises(UserError) as caught:
        environment.recorded()
    return str(caught.value)


def test_a_video_that_was_cut_names_file_camera_and_frame(copied: Any, opened: Any) -> None:
    root = copied("v30_video")
    path = root / TOP
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refusal(opened(root))
    assert f"{path}: episode_00000" in message
    assert "camera 'top'" in message


def test_a_missing_video(copied: Any, opened: Any) -> None:
    root = copied("v21_video")
    path = root / "videos/chunk-001/observation.images.top/episode_000002.mp4"
    path.unlink()
    assert f"{path}: is missing" in refusal(opened(root))
    assert len(opened(root, skip=("episode_000002",)).recorded()) == 2


def test_more_episodes_are_counted_than_listed(copied: Any, opened: Any, edit_info: Any) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update(total_episodes=5))
    assert "total_episodes is 5, but 3 episodes are listed, without episode_000003" in refusal(
        opened(root)
    )


@pytest.mark.parametrize("file", [FRAMES, EPISODES, "meta/tasks.parquet"])
def test_a_parquet_file_without_its_footer(copied: Any, opened: Any, file: str) -> None:
    root = copied("v30_video")
    path = root / file
    path.write_bytes(path.read_bytes()[:-8])
    message = refusal(opened(root))
    assert f"{path}: has no footer" in message
    assert message.count("\n") <= 2


def test_a_length_that_is_one_too_large(copied: Any, opened: Any, edit_column: Any) -> None:
    root = copied("v30_video")
    edit_column(root / EPISODES, "length", lambda values: [values[0] + 1, *values[1:]])
    message = refusal(opened(root))
    assert (
        f"{root / FRAMES}: episode_000000: has 12 rows, but the episode table lists 13" in message
    )


def test_a_video_with_fewer_frames_than_its_episode(
    copied: Any, opened: Any, edit_column: Any
) -> None:
    root = copied("v30_video")
    key = "videos/observation.images.top/from_timestamp"
    edit_column(root / EPISODES, key, lambda values: [*values[:2], values[2] + 1 / 30])
    assert (
        f"{root / TOP}: episode_000002: camera 'top': frame 15: is missing: the video has 15"
        in refusal(opened(root))
    )


def test_a_damaged_frame_is_found_when_it_is_decoded(copied: Any, opened: Any) -> None:
    root = copied("v30_pusht_h264_nostats")
    path = next(root.glob("videos/*/*/*.mp4"))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 800
    data[start : start + 1200] = os.urandom(1200)
    path.write_bytes(bytes(data))
    episodes = opened(root).recorded()
    with pytest.raises(UserError, match=r"file-000.mp4: episode_\d+: camera 'image': frame \d+: "):
        list(map(_pixels, episodes))


def _pixels(episode: Any) -> Any:
    return episode.rgb[:]


def test_an_image_that_was_cut(copied: Any, opened: Any, edit_column: Any) -> None:
    root = copied("v30_image")

    def cut(values: list[Any]) -> list[Any]:
        values[7]["bytes"] = values[7]["bytes"][:20]
        return values

    edit_column(root / FRAMES, "observation.images.top", cut)
    message = refusal(opened(root))
    assert f"{root / FRAMES}: episode_000001: camera 'top': frame" in message


def test_images_that_are_only_paths(copied: Any, opened: Any, edit_column: Any) -> None:
    root = copied("v30_image")
    paths = {"bytes": None, "path": "/home/somebody/frame.png"}
    edit_column(root / FRAMES, "observation.images.top", lambda values: [paths] * len(values))
    assert "row 0 has no image but the path '/home/somebody/frame.png'" in refusal(opened(root))


@pytest.mark.parametrize("file", [FRAMES, TOP, "meta/info.json", "meta/tasks.parquet"])
def test_pointers_of_git_lfs(copied: Any, opened: Any, file: str) -> None:
    root = copied("v30_video")
    path = root / file
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    assert f"{path}: is a pointer of Git LFS" in refusal(opened(root))


@pytest.mark.parametrize("file", [FRAMES, TOP, "meta/info.json"])
def test_named_pipes_do_not_block(copied: Any, opened: Any, file: str) -> None:
    root = copied("v30_video")
    (root / file).unlink()
    os.mkfifo(root / file)
    assert "is a named pipe" in refusal(opened(root))


def test_a_playlist_is_no_video(copied: Any, opened: Any, tmp_path: Path) -> None:
    root = copied("v30_video")
    (root / TOP).write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/other.mp4\n")
    assert "camera 'top': is not a readable video" in refusal(opened(root))


def test_a_video_of_an_unknown_codec(copied: Any, opened: Any) -> None:
    root = copied("v30_pusht_h264_nostats")
    path = next(root.glob("videos/*/*/*.mp4"))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    assert f"{path}: episode_000000: camera 'image': " in refusal(opened(root))


def test_column_names_that_are_no_text(copied: Any, opened: Any) -> None:
    root = copied("v30_image")
    path = root / EPISODES
    path.write_bytes(path.read_bytes().replace(b"data/file_index", b"data/file_\xff\xff\xff\xffx"))
    assert f"{path}: " in refusal(opened(root))


@pytest.mark.parametrize("start", [float("nan"), -1.0, 1e300])
def test_impossible_times(copied: Any, opened: Any, edit_column: Any, start: float) -> None:
    root = copied("v30_video")
    key = "videos/observation.images.top/from_timestamp"
    edit_column(root / EPISODES, key, lambda values: [start] * len(values))
    assert f"episode 0: {key} is {start!r}" in refusal(opened(root))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"codebase_version": "v3.0"}', "[" * 5000])
def test_damaged_info(copied: Any, opened: Any, text: str) -> None:
    root = copied("v30_video")
    (root / "meta/info.json").write_text(text)
    assert "meta/info.json: " in refusal(opened(root))


@pytest.mark.parametrize("name", ["episodes.jsonl", "tasks.jsonl"])
def test_damaged_lines_of_older_formats(copied: Any, opened: Any, name: str) -> None:
    root = copied("v21_video")
    path = root / "meta" / name
    path.write_text(path.read_text() + "{not json\n")
    assert f"{path}: line " in refusal(opened(root))


def test_an_episode_that_is_listed_twice(copied: Any, opened: Any) -> None:
    root = copied("v21_video")
    path = root / "meta/episodes.jsonl"
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + first + "\n")
    assert "lists episode 0 twice" in refusal(opened(root))


def test_an_unknown_task_number(copied: Any, opened: Any) -> None:
    root = copied("v21_video")
    path = root / "meta/tasks.jsonl"
    path.write_text(json.dumps({"task_index": 0, "task": "Move."}) + "\n")
    assert "task_index is 1, which the list of tasks" in refusal(opened(root))
