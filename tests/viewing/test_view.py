"""Recordings of episodes and rollouts, read back by the Rerun SDK."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from rgb2act_core import cli, read_spec
from rgb2act_core.data.episode_store import read_episode
from rgb2act_core.errors import UserError
from rgb2act_core.evaluation.rollout_files import read_rollout, rollout_path
from rgb2act_core.pipeline.find_run import find_run
from rgb2act_core.viewing import recording, view
from rgb2act_core.viewing.episode import log_episode

pytest.importorskip("rerun")
ROOT = Path(__file__).parents[2]


def read_rrd(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each entity of a recording, in the order of their steps."""
    from rerun.chunk import RrdReader

    rows: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(path).stream().to_chunks():
        if "__properties" in chunk.entity_path:
            continue  # the recording's name and start
        table = chunk.to_record_batch()
        names = [name for name in table.schema.names if name not in ("RowId", "log_time")]
        columns = [_column(table.column(name)) for name in names]
        found = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        rows.setdefault(chunk.entity_path.lstrip("/"), []).extend(found)
    for found in rows.values():
        found.sort(key=lambda row: row.get("step") or 0)
    return rows


def _column(column: Any) -> list[Any]:
    """Return the values of a column; durations as integers, in nanoseconds."""
    import pyarrow

    temporal = pyarrow.types.is_temporal(column.type)
    values: list[Any] = (column.cast(pyarrow.int64()) if temporal else column).to_pylist()
    return values


def curve(rows: list[dict[str, Any]]) -> dict[int, float]:
    return {row["step"]: row["Scalars:scalars"][0] for row in rows}


@pytest.mark.slow
def test_a_tabletop_rollout_is_recorded(
    smoke_done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames, joints, commands, all plans, keypoints and feature maps are read back."""
    output = tmp_path / "rollout.rrd"
    arguments = ["view", "smoke", "--root", str(smoke_done), "--seeds", "1", "-o", str(output)]
    assert cli.main(arguments) == 0
    title, written = capsys.readouterr().out.splitlines()
    assert title.startswith("online, seed 1: ")
    assert written == str(output)

    rows = read_rrd(output)
    (folder,) = smoke_done.glob("store/act/*/")
    rollout, root = read_rollout(rollout_path(folder, 1)), "online/seed_1"
    assert [row["step"] for row in rows[f"{root}/camera/head"]] == list(range(rollout.steps + 1))
    name = rollout.action_names[0]
    commands = curve(rows[f"{root}/joint/{name}/command"])
    assert list(commands.values()) == rollout.commands[:, 0].astype(float).tolist()
    observed = curve(rows[f"{root}/joint/{name}/observed"])
    # the joints of the second execution are those that were recorded
    for step, joint in zip(rollout.observed, rollout.joints[:, 0], strict=True):
        assert observed[int(step)] == float(joint)

    plans: list[tuple[int, float]] = []
    for path in (path for path in rows if path.startswith(f"{root}/joint/{name}/plan/")):
        plans += [(s, v) for s, v in curve(rows[path]).items() if not math.isnan(v)]
    expected = [
        (int(first) + s, float(plan[s, 0]))
        for first, plan in zip(rollout.plan_steps, rollout.plans, strict=True)
        for s in range(len(plan))
    ]
    assert sorted(plans) == sorted(expected)
    steps = rollout.plan_steps.tolist()
    keypoints = rows[f"{root}/camera/head/keypoints"]
    assert [row["step"] for row in keypoints] == steps
    assert np.shape(keypoints[0]["Points2D:positions"]) == (16, 2)  # align.keypoint_maps
    for backbone in ("patchstats", "randconv"):
        assert [row["step"] for row in rows[f"{root}/features/head/{backbone}"]] == steps
    assert len(rows[f"{root}/world/hands"]) == rollout.steps + 1


def test_an_episode_of_the_store_is_recorded(smoke_done: Path, tmp_path: Path) -> None:
    stored = sorted(p for p in smoke_done.glob("store/episodes/*/episode_*") if not p.suffix)
    episode = read_episode(stored[1])
    shown = view.show_episode(stored[1].parent, stored[1].name, tmp_path / "episode.rrd")
    assert shown == [stored[1].name]
    rows = read_rrd(tmp_path / "episode.rrd")
    assert episode.joints is not None
    assert episode.clouds is not None
    assert len(rows["episode/camera/top"]) == len(episode.joints)
    observed = curve(rows["episode/joint/00/observed"])
    assert list(observed.values()) == episode.joints[:, 0].astype(float).tolist()
    cloud = rows["episode/world/cloud"][3]["Points3D:positions"]
    assert np.array_equal(np.array(cloud, np.float32), episode.clouds[3].xyz)
    with pytest.raises(UserError, match=r"--episode 'nothing': not in .*; episodes: episode_"):
        view.show_episode(stored[1].parent, "nothing", tmp_path / "other.rrd")
    assert not (tmp_path / "other.rrd").exists()


def test_a_recorded_robotwin_episode_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("rgb2act_robotwin")
    folder = ROOT / "plugins/robotwin/rgb2act_robotwin/tiny"
    (name,) = view.show_episode(folder, None, tmp_path / "robotwin.rrd")
    rows = read_rrd(tmp_path / "robotwin.rrd")
    assert name in rows["episode/text"][0]["TextDocument:text"][0]
    cameras = {path for path in rows if path.startswith("episode/camera/")}
    assert "episode/camera/head_camera" in cameras
    names = {path.split("/")[2] for path in rows if path.startswith("episode/joint/")}
    assert "left_gripper" in names
    # RoboTwin's data has a rate, so that the viewer can play it in seconds
    assert rows["episode/camera/head_camera"][1]["seconds"] is not None


@pytest.mark.usefixtures("puppet")
def test_depth_images_are_recorded(spec_file: Callable[..., Path], tmp_path: Path) -> None:
    spec = read_spec(spec_file(environment={"use": "puppet", "recorded": 1}))
    episode = spec.environments[0].build().recorded()[0]
    metres = np.linspace(0, 1, 12, dtype=np.float64).reshape(3, 4)
    deep = attrs.evolve(episode, depth={"wrist": [t * metres for t in range(len(episode.rgb))]})
    with recording.open_recording("depth", tmp_path / "depth.rrd") as record:
        log_episode(record, deep)
    rows = read_rrd(tmp_path / "depth.rrd")["episode/camera/wrist_depth"]
    assert len(rows) == len(episode.rgb)
    buffer = np.array(rows[2]["DepthImage:buffer"][0], np.uint8).view(np.float32)
    np.testing.assert_array_equal(buffer, (2 * metres).astype(np.float32).ravel())
    assert rows[2]["DepthImage:meter"] == [1.0]


def test_without_display_a_file_is_needed(
    monkeypatch: pytest.MonkeyPatch, smoke_done: Path
) -> None:
    monkeypatch.setattr(recording, "has_display", lambda: False)
    (episode, *_) = sorted(smoke_done.glob("store/episodes/*/episode_*"))
    with pytest.raises(UserError, match="there is no display; write a file with -o"):
        view.show_episode(episode, None, None)


def test_missing_sdk_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(UserError, match=r"pip install 'rgb2act\[view\]'"):
        recording.rerun_sdk()


def test_a_path_without_episodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no episode in it"):
        view.show_episode(tmp_path, None, tmp_path / "a.rrd")


@pytest.mark.slow
def test_plans_on_a_held_out_demonstration_are_recorded(
    puppet_done: Path, tmp_path: Path, puppet: Callable[..., None]
) -> None:
    """Offline, the policy plans on the frames of a demonstration that it was not trained on."""
    request = view.Request(seeds=[0], offline=True)
    shown = view.show_run(find_run("puppet", puppet_done), request, tmp_path / "both.rrd")
    assert [text.partition(",")[0] for text in shown] == ["online", "offline"]
    rows = read_rrd(tmp_path / "both.rrd")
    (root,) = {"/".join(path.split("/")[:2]) for path in rows if path.startswith("offline/")}
    plans = [path for path in rows if path.startswith(f"{root}/joint/") and "/plan/" in path]
    assert plans
    assert any(path.startswith("online/seed_0/joint/") for path in rows)
