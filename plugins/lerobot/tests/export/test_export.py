"""Episodes are written as v3.0 and read back: numbers bit by bit, frames nearly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from rgb2act_lerobot.export import tables, video_writer
from rgb2act_lerobot.export.dataset_writer import ExportOptions, export

from rgb2act_core import Demonstrations, UserError, open_demonstrations
from rgb2act_core.cli import main
from rgb2act_core.interfaces import EnvironmentInfo, Episode

NAMES = ("left_waist", "left_gripper", "right_waist", "right_gripper")
HERTZ = 250 / 15


def smooth(count: int, size: tuple[int, int], phase: int) -> Any:
    """Return images (T, 1, H, W, 3) that videos compress well, and that differ in time."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    frames = [
        np.stack([x + 5 * t + 20 * phase, y + 40, np.full_like(x, 90 + 5 * t)], axis=-1)
        for t in range(count)
    ]
    return np.clip(np.stack(frames)[:, None], 0, 255).astype(np.uint8)


def demonstrations(lengths: tuple[int, ...], size: tuple[int, int] = (48, 64)) -> Demonstrations:
    random = np.random.default_rng(0)
    episodes = [
        Episode(
            name=f"e{i}",
            task="lift",
            instruction=("Lift.", "Lift the pot.")[i % 2],
            cameras=("top",),
            rgb=smooth(count, size, i),
            joints=random.uniform(0, 1, (count, 4)).astype(np.float32),
            actions=random.uniform(0, 1, (count, 4)).astype(np.float32),
            clouds=None,
            state={"pot": np.zeros((count, 3), np.float32)},
            seed=i,
        )
        for i, count in enumerate(lengths)
    ]
    info = EnvironmentInfo(
        task="lift",
        cameras=("top",),
        image=size,
        action_names=NAMES,
        control_hz=HERTZ,
        max_steps=9,
        demonstrates=False,
        acts=False,
    )
    openers = tuple((lambda episode=episode: episode) for episode in episodes)
    return Demonstrations(info=info, openers=openers)


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_written_episodes_are_read_back(tmp_path: Path, opened: Any, codec: Any) -> None:
    written, into = demonstrations((5, 7, 1)), tmp_path / "set"
    export(written, into, ExportOptions(codec=codec))
    environment = opened(into)
    assert environment.info.control_hz == HERTZ
    assert environment.info.action_names == NAMES
    for one, two in zip(written, environment.recorded(), strict=True):
        assert one.instruction == two.instruction
        assert np.array_equal(one.joints, two.joints)
        assert np.array_equal(one.actions, two.actions)
        apart = np.abs(np.asarray(one.rgb[:]).astype(int) - two.rgb[:]).mean((1, 2, 3, 4))
        assert apart.max() < 3  # of 255; frames one step apart differ by 3.3, episodes by 6


def test_each_episode_begins_with_a_key_frame(tmp_path: Path) -> None:
    for codec in ("av1", "h264"):
        export(demonstrations((5, 7, 3)), tmp_path / codec, ExportOptions(codec=codec))  # type: ignore[arg-type]
        with av.open(str(next((tmp_path / codec).rglob("*.mp4")))) as video:
            stream = video.streams.video[0]
            packets = [p for p in video.demux(stream) if p.pts is not None]
            order = sorted(packet.pts for packet in packets)
            keys = [order.index(packet.pts) for packet in packets if packet.is_keyframe]
        assert {0, 5, 12} <= set(keys)


def test_files_are_split_between_episodes(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "FILE_MB", 0)
    monkeypatch.setattr(tables, "FILE_MB", 0)
    written = demonstrations((3, 2, 4))
    export(written, tmp_path / "set", ExportOptions(codec="h264"))
    assert len(list((tmp_path / "set").rglob("data/*/*.parquet"))) > 1
    for one, two in zip(written, opened(tmp_path / "set").recorded(), strict=True):
        assert np.array_equal(one.joints, two.joints)
        assert two.rgb[:].shape == one.rgb[:].shape


def test_metadata_is_what_lerobot_needs(tmp_path: Path) -> None:
    export(demonstrations((5, 7)), tmp_path / "set", ExportOptions(codec="h264"))
    meta = tmp_path / "set/meta"
    info = json.loads((meta / "info.json").read_text())
    assert (info["codebase_version"], info["robot_type"]) == ("v3.0", "bimanual")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 12, 2)
    camera = info["features"]["observation.images.top"]
    assert (camera["shape"], len(camera["names"])) == ([48, 64, 3], 3)
    tasks = pq.read_table(meta / "tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks["task"].to_pylist() == ["Lift.", "Lift the pot."]
    statistics = json.loads((meta / "stats.json").read_text())
    for key in ("observation.state", "action", "observation.images.top", "timestamp"):
        assert set(statistics[key]) >= {"min", "max", "mean", "std", "count", "q01", "q99"}
    assert np.shape(statistics["observation.images.top"]["mean"]) == (3, 1, 1)
    assert max(np.ravel(statistics["observation.images.top"]["max"])) <= 1
    data = pq.ParquetFile(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert data.metadata.num_row_groups == 2
    table = data.read()
    assert table["index"].to_pylist() == list(range(12))
    expected = (np.arange(7) / HERTZ).astype(np.float32)
    assert np.array_equal(table["timestamp"].to_numpy()[5:], expected)
    lost = json.loads((meta / "rgb2act.json").read_text())
    assert lost["lost"] == ["state pot"]
    assert [episode["seed"] for episode in lost["episodes"]] == [0, 1]


def test_statistics_are_those_of_numpy() -> None:
    from rgb2act_lerobot.export.statistics import PixelCounts, of_numbers

    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = of_numbers(values)
    # float64 sums of 50 values
    np.testing.assert_allclose(found["std"], values.astype(np.float64).std(0), rtol=1e-12)
    np.testing.assert_allclose(found["q10"], np.quantile(values.astype(np.float64), 0.1, axis=0))
    image = smooth(1, (8, 9), 0)[0, 0]
    counts = PixelCounts()
    counts.add(image)
    pixels = image.reshape(-1, 3) / 255
    image_statistics = counts.statistics()
    np.testing.assert_allclose(np.ravel(image_statistics["mean"]), pixels.mean(0))
    # the variance is a difference of two numbers near 0.5, rounded at 1e-16
    np.testing.assert_allclose(np.ravel(image_statistics["std"]), pixels.std(0), atol=1e-7)
    assert np.ravel(image_statistics["max"]).tolist() == pixels.max(0).tolist()


def test_odd_sizes_are_padded_and_named(tmp_path: Path, opened: Any) -> None:
    written = demonstrations((3,), (47, 61))
    export(written, tmp_path / "set", ExportOptions(codec="h264"))
    (episode,) = opened(tmp_path / "set").recorded()
    assert episode.rgb[:].shape == (3, 1, 48, 62, 3)
    details = json.loads((tmp_path / "set/meta/rgb2act.json").read_text())
    assert "padded to (48, 62)" in details["changed"][1]


def test_a_whole_frame_rate_can_be_declared(tmp_path: Path, opened: Any) -> None:
    export(demonstrations((5, 3)), tmp_path / "set", ExportOptions(codec="h264", fps=17))
    environment = opened(tmp_path / "set")
    assert environment.info.control_hz == 17
    assert [len(episode.rgb[:]) for episode in environment.recorded()] == [5, 3]
    details = json.loads((tmp_path / "set/meta/rgb2act.json").read_text())
    assert details["changed"][-1] == "16.6667 frames per second are declared as 17"


def test_existing_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file").touch()
    with pytest.raises(UserError, match="already exists"):
        export(demonstrations((3,)), tmp_path / "set", ExportOptions())
    assert (tmp_path / "set/file").exists()


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    good = demonstrations((3, 3))

    def fail() -> Episode:
        raise UserError("episode e1: is damaged")

    broken = Demonstrations(info=good.info, openers=(good.openers[0], fail))
    with pytest.raises(UserError, match="is damaged"):
        export(broken, tmp_path / "set", ExportOptions(codec="h264"))
    assert not list(tmp_path.iterdir())


def test_a_killed_export_looks_incomplete_and_is_removed_by_the_next(tmp_path: Path) -> None:
    into = tmp_path / "set"
    code = f"""
import os, signal
from pathlib import Path
from rgb2act_lerobot.export import dataset_writer

class OneEpisode(list):
    info = None

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

dataset_writer._DatasetWriter = kill
dataset_writer.export(OneEpisode([None]), Path({str(into)!r}), dataset_writer.ExportOptions())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".set.")
    export(demonstrations((3,)), into, ExportOptions(codec="h264"))
    assert list(tmp_path.iterdir()) == [into]


def test_command_converts_a_data_set(
    tmp_path: Path, opened: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(__file__).parents[1] / "data/v30_chunked"
    into = tmp_path / "set"
    assert main(["export-lerobot", str(source), "--into", str(into), "--codec", "h264"]) == 0
    assert capsys.readouterr().out.strip() == str(into)
    assert len(open_demonstrations(source)) == 5
    for one, two in zip(opened("v30_chunked").recorded(), opened(into).recorded(), strict=True):
        assert np.array_equal(one.joints, two.joints)
        assert np.array_equal(one.actions, two.actions)
        assert one.instruction == two.instruction


def test_tabletop_round_trip(tmp_path: Path, opened: Any) -> None:
    from rgb2act_tabletop import Tabletop
    from rgb2act_tabletop import build as build_tabletop

    environment = build_tabletop(Tabletop(task="lift", size=96))
    episode = environment.demonstrate(0, 0.0)
    assert episode is not None
    written = Demonstrations(info=environment.info, openers=(lambda: episode,))
    export(written, tmp_path / "set", ExportOptions())
    (read,) = opened(tmp_path / "set").recorded()
    assert read.joints.tobytes() == np.asarray(episode.joints).tobytes()
    assert read.actions.tobytes() == np.asarray(episode.actions).tobytes()
    assert np.abs(np.asarray(episode.rgb[:]).astype(int) - read.rgb[:]).mean() < 3  # of 255
    details = json.loads((tmp_path / "set/meta/rgb2act.json").read_text())
    assert "point clouds" in details["lost"]
