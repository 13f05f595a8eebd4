"""Data sets of other tools and versions: the right frames, or one line that names the problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rgb2act_lerobot import LeRobot

from rgb2act_core import UserError

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FRAMES = "data/chunk-000/file-000.parquet"


def same(a: Any, b: Any) -> None:
    """Compare the content of all episodes of two environments."""
    for one, two in zip(a.recorded(), b.recorded(), strict=True):
        assert one.instruction == two.instruction
        assert np.array_equal(one.joints, two.joints)
        assert np.array_equal(one.actions, two.actions)
        assert np.array_equal(one.rgb[:], two.rgb[:])


def test_tasks_go_by_their_number_not_by_their_row(copied: Any, opened: Any) -> None:
    root = copied("v30_video")
    path = root / "meta/tasks.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array([1, 0])), path)
    same(opened(root), opened("v30_video"))


def test_frame_ranges_of_the_episode_table_are_not_used(
    copied: Any, opened: Any, edit_column: Any
) -> None:
    root = copied("v30_chunked")
    for path in root.glob("meta/episodes/*/*.parquet"):
        edit_column(path, "dataset_from_index", lambda values: [0] * len(values))
        edit_column(path, "dataset_to_index", lambda values: [1] * len(values))
    same(opened(root), opened("v30_chunked"))


@pytest.mark.parametrize("fps", [29, 29.97, 31])
def test_another_frame_rate_than_that_of_the_video(
    copied: Any, opened: Any, edit_info: Any, fps: float
) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update(fps=fps))
    same(opened(root), opened("v30_video"))
    assert opened(root).info.control_hz == fps


def test_half_the_frame_rate_names_the_frame(copied: Any, opened: Any, edit_info: Any) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update(fps=15))
    with pytest.raises(UserError, match=r"file-000.mp4: episode_000000: camera 'top': frame \d+: "):
        opened(root).recorded()


def test_names_may_be_missing(copied: Any, opened: Any, edit_info: Any) -> None:
    root = copied("v30_video")

    def forget(info: Any) -> None:
        for feature in info["features"].values():
            feature["names"] = None

    edit_info(root, forget)
    environment = opened(root)
    assert environment.info.action_names[:2] == ("joint_0", "joint_1")
    assert environment.info.image == (96, 128)
    named = opened(root, action_names=tuple("abcdefghijklmn"))
    assert named.info.action_names[0] == "a"
    assert np.array_equal(named.recorded()[0].joints, opened("v30_video").recorded()[0].joints)


def test_cameras_of_different_sizes(copied: Any, opened: Any, edit_info: Any) -> None:
    root = copied("v30_video")
    other = Path(__file__).parents[1] / "data/v30_pusht_h264_nostats"
    video = next(other.glob("videos/*/*/*.mp4"))  # 96 x 96, 10 Hz, 15 frames: only episode 0 fits
    (root / "videos/observation.images.left_wrist/chunk-000/file-000.mp4").write_bytes(
        video.read_bytes()
    )
    edit_info(root, lambda info: info.update(fps=10))
    top = root / "videos/observation.images.top/chunk-000/file-000.mp4"
    top.write_bytes(_slower(top.read_bytes()))
    with pytest.raises(UserError, match=r"different sizes \(top 96x128, left_wrist 96x96\)"):
        opened(root, limit=1).recorded()
    resized = opened(root, limit=1, resize=(48, 64)).recorded()[0]
    assert resized.rgb[0].shape == (2, 48, 64, 3)
    assert opened(root, limit=1, cameras=("left_wrist",)).info.image == (96, 96)


def _slower(data: bytes) -> bytes:
    """Return a video of 30 frames per second as one of 10: its time base is three times longer."""
    return data.replace((15360).to_bytes(4, "big"), (5120).to_bytes(4, "big"))


def test_nan_in_an_action_names_file_and_frame(copied: Any, opened: Any, edit_column: Any) -> None:
    root = copied("v30_video")

    def damage(values: list[Any]) -> list[Any]:
        values[15][3] = float("nan")
        return values

    edit_column(root / FRAMES, "action", damage)
    with pytest.raises(
        UserError, match=r"file-000.parquet: episode_000001: frame 3: action contains NaN"
    ):
        opened(root).recorded()
    assert len(opened(root, skip=("episode_000001",)).recorded()) == 2


def _without_last_action(root: Path, edit_info: Any) -> None:
    path = root / FRAMES
    table = pq.read_table(path)
    short = [row[1:] for row in table["action"].to_pylist()]
    index = table.column_names.index("action")
    table = table.set_column(index, "action", pa.array(short, pa.list_(pa.float32())))
    pq.write_table(table, path)

    def change(info: Any) -> None:
        action = info["features"]["action"]
        action["shape"], action["names"] = [13], action["names"][1:]

    edit_info(root, change)


def test_a_state_with_more_dimensions_is_matched_by_name(
    copied: Any, opened: Any, edit_info: Any
) -> None:
    root = copied("v30_video")
    _without_last_action(root, edit_info)
    environment, full = opened(root), opened("v30_video")
    assert environment.info.action_names == full.info.action_names[1:]
    assert np.array_equal(environment.recorded()[1].joints, full.recorded()[1].joints[:, 1:])


def test_different_widths_without_names_list_both(copied: Any, opened: Any, edit_info: Any) -> None:
    root = copied("v30_video")
    _without_last_action(root, edit_info)
    edit_info(root, lambda info: info["features"]["action"].update(names=None))
    with pytest.raises(UserError, match=r"action has 13 values \(without names\), obs.* 14 values"):
        opened(root).recorded()


def test_state_in_another_order_is_matched_by_name(
    copied: Any, opened: Any, edit_info: Any
) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info["features"]["observation.state"]["names"].reverse())
    one, two = opened(root).recorded()[0], opened("v30_video").recorded()[0]
    assert np.array_equal(one.joints, two.joints[:, ::-1])


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64()])
def test_other_number_types(copied: Any, opened: Any, kind: pa.DataType) -> None:
    root = copied("v30_video")
    path = root / FRAMES
    table = pq.read_table(path)
    values = np.array(table["observation.state"].to_pylist()) * 100
    rows = values.astype(kind.to_pandas_dtype()).tolist()
    index = table.column_names.index("observation.state")
    pq.write_table(
        table.set_column(index, "observation.state", pa.array(rows, pa.list_(kind))), path
    )
    joints = opened(root).recorded()[0].joints
    assert joints.dtype == np.float32
    expected = values[:12].astype(kind.to_pandas_dtype()).astype(np.float32)
    assert np.array_equal(joints, expected)


def test_rows_of_a_file_in_any_order(copied: Any, opened: Any) -> None:
    root = copied("v30_image")
    path = root / FRAMES
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(range(len(table) - 1, -1, -1))), path)
    same(opened(root), opened("v30_image"))


@pytest.mark.parametrize("key", ["video_path", "data_path"])
@pytest.mark.parametrize(
    "template", ["../{file_index}", "/etc/passwd", "{x.__class__}", "{file_index:0999999999d}"]
)
def test_path_templates_stay_within_the_data_set(
    copied: Any, opened: Any, edit_info: Any, key: str, template: str
) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update({key: template}))
    with pytest.raises(UserError, match=rf"info.json: {key} "):
        opened(root).recorded()


def test_links_out_of_the_data_set_are_refused(copied: Any, opened: Any, tmp_path: Path) -> None:
    root = copied("v30_video")
    video = root / "videos/observation.images.top/chunk-000/file-000.mp4"
    video.rename(tmp_path / "elsewhere.mp4")
    video.symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(UserError, match="is a link to"):
        opened(root).recorded()


def test_snapshots_of_the_hub_are_links_to_its_blobs(
    copied: Any, opened: Any, tmp_path: Path
) -> None:
    root = copied("v30_video")
    snapshot = tmp_path / "hub/snapshots/0123abcd"
    (tmp_path / "hub/blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())):
        blob = path.rename(tmp_path / f"hub/blobs/{number}")
        link = snapshot / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    same(opened(snapshot), opened("v30_video"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v16_stub", "version 1, before v2.0; convert it with lerobot 0.3.3"),
        ("v30_interrupted", "meta/episodes: is missing or empty: the recording was interrupted"),
    ],
)
def test_what_cannot_be_read_names_a_remedy(opened: Any, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        opened(name).recorded()
    assert len(caught.value.args) == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [("v1.6", "before v2.0"), ("v4.0", "update rgb2act-lerobot"), (3, "expected 'v3.0'")],
)
def test_other_versions(
    copied: Any, opened: Any, edit_info: Any, version: Any, message: str
) -> None:
    root = copied("v30_video")
    edit_info(root, lambda info: info.update(codebase_version=version))
    with pytest.raises(UserError, match=message):
        opened(root).recorded()


def test_meta_without_statistics_or_features_of_language(
    copied: Any, opened: Any, edit_info: Any
) -> None:
    root = copied("v30_video_061")
    (root / "meta/stats.json").unlink()
    language = {"dtype": "language", "shape": None, "names": None}
    edit_info(root, lambda info: info["features"].update(language_events=language))
    edit_info(root, lambda info: info.update(tools=["unknown"]))
    same(opened(root), opened("v30_video_061"))


def test_other_columns_of_the_spec_are_checked() -> None:
    with pytest.raises(UserError) as caught:
        LeRobot(data=Path("x"), stride=0, limit=0, gripper_range=(1.0, 1.0), name="a/b")
    assert len(caught.value.args) == 4
    assert json.dumps(caught.value.args)
