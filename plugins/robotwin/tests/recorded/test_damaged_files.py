"""Damaged files: the error names file, key and frame, and a remedy."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rgb2act_robotwin import Robotwin, build, inspect
from rgb2act_robotwin.environment import RobotwinEnvironment
from rgb2act_robotwin.recorded.images import read_image
from robotwin_episodes import ROWS, TASK, vector, write_layout, write_legacy, write_newer

from rgb2act_core import UserError
from rgb2act_core.testing import validate_episode

Opened = Callable[..., RobotwinEnvironment]
KEYS = {
    "legacy": ("observation/head_camera/rgb", "joint_action/vector", "pointcloud"),
    "head": ("vision/cam_head/colors", "state/left_arm_joint_states", None),
    "converted": ("vision/cam_head/colors", "state/left_arm_joint_states", "pointclouds"),
}


def refused(environment: RobotwinEnvironment) -> str:
    with pytest.raises(UserError) as caught:
        environment.recorded()
    return str(caught.value)


def problems(path: Path) -> str:
    """Return the problems that inspect finds; it must not raise."""
    found = inspect(path)
    assert found is not None
    return "\n".join(problem for episode in found.episodes for problem in episode.problems)


def test_truncated_file(tmp_path: Path, layout: str, opened: Opened) -> None:
    path = write_layout(tmp_path, layout)
    write_layout(tmp_path, layout, 1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for message in (refused(opened(tmp_path)), problems(tmp_path)):
        assert f"{path}: cannot be read as HDF5" in message
        assert "leave it out with [environment] skip" in message
    kept = opened(tmp_path, skip=("demo_clean-episode_0000000",)).recorded()
    assert [episode.name for episode in kept] == ["demo_clean-episode_0000001"]


def test_all_damage_is_reported_if_the_first_episode_is_damaged(
    tmp_path: Path, opened: Opened
) -> None:
    paths = [write_legacy(tmp_path, number) for number in range(3)]
    for path in paths[:2]:
        path.write_bytes(b"")
    environment = opened(tmp_path)
    assert environment.info.image == (24, 32)
    assert refused(environment).count("cannot be read as HDF5") == 2


def test_file_that_is_not_hdf5(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    path.write_bytes(b"hello")
    assert f"{path}: cannot be read as HDF5" in refused(opened(tmp_path))
    assert "cannot be read as HDF5" in problems(tmp_path)


def test_hdf5_with_other_keys(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "w") as file:
        file["weights"] = [1]
    assert f"{path}: has weights, which is not a layout of RoboTwin" in refused(opened(tmp_path))


def test_missing_camera(tmp_path: Path, layout: str, opened: Opened) -> None:
    write_layout(tmp_path, layout)
    write_layout(tmp_path, layout, 1)
    path = write_layout(tmp_path, layout, 2, cameras=("left_camera",))
    message = refused(opened(tmp_path))
    assert f"{path}: camera 'head_camera' is missing; the file has left_camera" in message
    assert message.count("\n") == 0
    assert "camera 'head_camera' is missing; 2 of 3 episodes have it" in problems(tmp_path)
    assert "did you mean 'head_camera'" in refused(opened(tmp_path, cameras=("hed_camera",)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_joint_that_is_nan(tmp_path: Path, layout: str, value: float, opened: Opened) -> None:
    path, key = write_layout(tmp_path, layout), KEYS[layout][1]
    with h5py.File(path, "r+") as file:
        file[key][3, 2] = value
    for message in (refused(opened(tmp_path)), problems(tmp_path)):
        assert f"{path}: {key}: frame 3: value[2] is {value!r}" in message


def test_last_row_of_a_legacy_file_is_an_action_too(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        file["joint_action/vector"][ROWS - 1, 0] = np.nan
    assert f"frame {ROWS - 1}: value[0] is nan" in refused(opened(tmp_path))


@pytest.mark.parametrize("kind", ["legacy", "converted"])
def test_empty_cloud(tmp_path: Path, kind: str, opened: Opened) -> None:
    path, key = write_layout(tmp_path, kind), KEYS[kind][2]
    with h5py.File(path, "r+") as file:
        file[str(key)][2] = 0
    for message in (refused(opened(tmp_path)), problems(tmp_path)):
        assert f"{path}: {key}: frame 2: has no points" in message
    (episode,) = opened(tmp_path, clouds="none").recorded()
    assert episode.clouds is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "is not a JPEG"),
        (b"", "is empty"),
        (b"\xff\xd8\xff\xd9", "has no image data"),
        (b"\xff\xd8\xff\xe0", "is truncated"),
    ],
)
def test_frame_that_is_not_a_jpeg(
    tmp_path: Path, layout: str, data: bytes, message: str, opened: Opened
) -> None:
    path, key = write_layout(tmp_path, layout), KEYS[layout][0]
    with h5py.File(path, "r+") as file:
        file[key][3] = data
    for problem in (refused(opened(tmp_path)), problems(tmp_path)):
        assert f"{path}: {key}: frame 3: {message}" in problem


def test_jpeg_with_damaged_content_is_an_error_on_decoding(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        data = bytes(file["observation/head_camera/rgb"][1])
        at = data.index(b"\xff\xda") + 20
        file["observation/head_camera/rgb"][1] = data[:at] + b"\xff\xd9"
    (episode,) = opened(tmp_path).recorded()
    with pytest.raises(
        UserError, match=r"observation/head_camera/rgb: frame 1: .*; copy or record"
    ):
        episode.rgb[0:3]
    assert episode.rgb[2].shape == (1, 24, 32, 3)


def test_all_missing_keys_are_reported_at_once(tmp_path: Path, opened: Opened) -> None:
    one, two = write_legacy(tmp_path), write_legacy(tmp_path, 1)
    with h5py.File(one, "r+") as file:
        del file["joint_action"]
    with h5py.File(two, "r+") as file:
        del file["observation/head_camera/rgb"]
        file["joint_action/vector"][0, 0] = np.nan
    message = refused(opened(tmp_path)).splitlines()
    assert any(f"{one}: joint_action/vector: is missing" in line for line in message)
    assert any(f"{two}: observation/head_camera/rgb: is missing" in line for line in message)
    assert any(f"{two}: joint_action/vector: frame 0" in line for line in message)


def test_newer_file_without_actions(tmp_path: Path, opened: Opened) -> None:
    path = write_newer(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["action"]
    assert f"{path}: action/left_arm_joint_states: is missing" in refused(opened(tmp_path))


def test_actions_equal_to_the_state_are_refused(tmp_path: Path, opened: Opened) -> None:
    path = write_newer(tmp_path)
    with h5py.File(path, "r+") as file:
        for name in file["action"]:
            file["action"][name][:] = file["state"][name][:]
    assert "every action equals the state of its own frame" in refused(opened(tmp_path))


def test_wrong_widths_and_lengths(tmp_path: Path, opened: Opened) -> None:
    wide = write_legacy(tmp_path / "a", joints=np.zeros((ROWS, 16)))
    assert f"{wide}: joint_action/vector: has shape (6, 16)" in refused(opened(tmp_path / "a"))
    short = write_legacy(tmp_path / "b")
    with h5py.File(short, "r+") as file:
        frames = file["observation/head_camera/rgb"][:3]
        del file["observation/head_camera/rgb"]
        file["observation/head_camera/rgb"] = frames
    assert "rgb: has 3 frames, joint_action/vector has 6" in refused(opened(tmp_path / "b"))
    write_legacy(tmp_path / "c", rows=1)
    assert "has 1 frames, needs at least 2" in refused(opened(tmp_path / "c"))
    joints_RA = vector()
    joints_RA[2, 6] = 1.7
    write_legacy(tmp_path / "d", joints=joints_RA)
    assert "frame 2: left_gripper is 1.7" in refused(opened(tmp_path / "d"))


def test_no_episodes(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"0 episodes|no such file"):
            build(Robotwin(task=TASK, data=data)).recorded()
    (tmp_path / "notes.hdf5").write_bytes(b"")  # without a number it is not an episode
    with pytest.raises(UserError, match="0 episodes"):
        _ = build(Robotwin(task=TASK, data=tmp_path)).info
    assert inspect(tmp_path) is None


def test_all_episodes_skipped_or_an_unknown_one(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path)
    assert "0 episodes are left" in refused(opened(tmp_path, skip=("demo_clean-episode_0000000",)))
    assert "did you mean 'demo_clean-episode_0000000'" in refused(
        opened(tmp_path, skip=("demo_clean-episode_000000",))
    )


def test_planned_segments_are_refused_as_labels(tmp_path: Path) -> None:
    for name in ("_traj_data", "_traj_data/episode0.pkl", "episode0.pkl"):
        with pytest.raises(UserError, match=r"has no actions: _traj_data has planned arm segments"):
            Robotwin(task=TASK, data=tmp_path / name)


def test_instructions_that_are_not_json(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path).parents[1] / "instructions" / "episode0.json"
    path.write_text("{")
    assert f"{path}: is not valid JSON" in refused(opened(tmp_path))


def test_two_files_with_the_same_number(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    shutil.copy(path, path.with_name("episode_0.hdf5"))
    assert "is episode 0 as well as" in refused(opened(tmp_path))


def test_cameras_with_different_sizes(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file, h5py.File(write_legacy(tmp_path / "x"), "r") as other:
        from robotwin_episodes import jpeg

        large = jpeg(np.zeros((48, 64, 3), np.uint8))
        del file["observation/left_camera/rgb"]
        file["observation/left_camera/rgb"] = np.array([large] * ROWS, "S")
        assert other
    message = refused(opened(tmp_path, cameras=("head_camera", "left_camera"), limit=1))
    assert "choose cameras of the same size" in message


def test_a_joint_beyond_float32_is_an_error(tmp_path: Path) -> None:
    path = write_layout(tmp_path, "legacy")
    with h5py.File(path, "r+") as file:
        file["joint_action/vector"][2, 3] = 1e300
    with pytest.raises(
        UserError, match="row 2: left_joint4 is 1e\\+300, which is not a joint angle"
    ):
        build(Robotwin(task=TASK, data=path)).recorded()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(st.data())
def test_any_damage_is_a_user_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Overwriting bytes or truncating anywhere causes no crash and no wrong shape."""
    kind = data.draw(st.sampled_from(list(KEYS)))
    root = tmp_path_factory.getbasetemp() / f"fuzz-{kind}"
    whole = root / "whole"
    if not whole.exists():
        write_layout(root, kind).rename(whole)
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        noise = data.draw(st.binary(min_size=1, max_size=12))
        content[at : at + len(noise)] = noise[: len(content) - at]
    path = root / "episode0.hdf5"
    path.write_bytes(content)
    try:
        (episode,) = build(Robotwin(task=TASK, data=path)).recorded()
        validate_episode(episode)
        assert episode.rgb[:].shape == episode.rgb.shape
    except UserError as err:
        message = str(err)
    else:
        message = "episode"
    assert str(path) in message or "episode" in message
    inspect(path)


@pytest.mark.parametrize("key", ["joint_action/vector", "observation", "extra"])
def test_link_to_another_file_is_refused_without_following_it(tmp_path: Path, key: str) -> None:
    path = write_legacy(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "r+") as file:
        if key in file:
            del file[key]
        file[key] = h5py.ExternalLink(str(tmp_path / "pipe"), "/x")
    assert f"{path}: '{key}' is a link to another file" in problems(tmp_path)


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_array_stored_in_another_file_is_refused(tmp_path: Path, opened: Opened, kind: str) -> None:
    path, key = write_legacy(tmp_path / "data"), "joint_action/vector"
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(ROWS * 14 * 8))
    with h5py.File(path, "r+") as file:
        del file[key]
        if kind == "external":
            file.create_dataset(key, (ROWS, 14), "f8", external=[(other, 0, ROWS * 14 * 8)])
        else:
            layout = h5py.VirtualLayout((ROWS, 14), "f8")
            layout[:] = h5py.VirtualSource(other, "x", (ROWS, 14))
            file.create_virtual_dataset(key, layout)
    assert f"{path}: {key}: its values are in another file" in refused(opened(tmp_path / "data"))


def test_array_that_declares_more_than_the_memory_is_refused(
    tmp_path: Path, opened: Opened
) -> None:
    path, key = write_legacy(tmp_path), "joint_action/vector"
    with h5py.File(path, "r+") as file:
        del file[key]
        file.create_dataset(key, (1 << 40, 14), "f8", chunks=(1 << 10, 14))
    assert f"{path}: {key}: needs 123 TB of memory" in refused(opened(tmp_path))


def test_named_pipe_in_place_of_an_episode_is_skipped(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    os.mkfifo(path.with_name("episode7.hdf5"))
    assert [episode.name for episode in opened(tmp_path).recorded()] == [
        "demo_clean-episode_0000000"
    ]


def test_named_pipe_in_place_of_the_seeds_is_refused(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path)
    os.mkfifo(tmp_path / TASK / "demo_clean" / "seed.txt")
    assert "seed.txt: is a named pipe" in refused(opened(tmp_path))


@pytest.mark.parametrize("call", ["iterdir", "is_file"])
def test_folder_without_access_is_named(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder, original = write_legacy(tmp_path).parent, getattr(Path, call)

    def denied(path: Path) -> Any:
        if folder == (path if call == "iterdir" else path.parent):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(Path, call, denied)
    message = f"{folder}: cannot be read (permission denied); allow reading and entering it"
    assert refused(opened(tmp_path)) == message
    with pytest.raises(UserError, match=re.escape(message)):
        inspect(tmp_path)


def test_file_without_access_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_legacy(tmp_path)

    def denied(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Unable to synchronously open file")

    monkeypatch.setattr(h5py, "File", denied)
    assert f"{path}: cannot be read (permission denied); allow reading it" in problems(tmp_path)


def test_link_that_leaves_the_data_folder_is_refused(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path / "data")
    outside = tmp_path / "episode0.hdf5"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(UserError, match=f"{path}: is a link to {outside}, outside"):
        opened(tmp_path / "data").recorded()


def test_image_with_16_bits_per_channel_is_refused(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has the mode 'I;16'; convert it to 8 bits per channel"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "EPS"])
def test_image_of_another_format_with_the_suffix_of_png_is_refused(
    tmp_path: Path, kind: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", kind)
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")
