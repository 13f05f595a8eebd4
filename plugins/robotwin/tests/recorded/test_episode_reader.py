"""Episodes of every layout give what the simulator recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from rgb2act_robotwin import Robotwin, build
from rgb2act_robotwin.environment import RobotwinEnvironment
from robotwin_episodes import (
    HEIGHT,
    ROWS,
    TASK,
    WIDTH,
    picture,
    replace_joints,
    vector,
    write_layout,
    write_legacy,
    write_newer,
)

from rgb2act_core import UserError
from rgb2act_core.interfaces import Episode
from rgb2act_core.testing import validate_episode

DATA = Path(__file__).parents[1] / "data"
Opened = Callable[..., RobotwinEnvironment]


def only(environment: RobotwinEnvironment) -> Episode:
    (episode,) = environment.recorded()
    return episode


def test_every_layout_gives_the_same_episode(tmp_path: Path, layout: str, opened: Opened) -> None:
    write_layout(tmp_path, layout)
    environment = opened(tmp_path, cameras=("head_camera", "left_camera"))
    episode = only(environment)
    validate_episode(episode)
    joints_RA = vector().astype(np.float32)
    assert episode.name == "demo_clean-episode_0000000"
    assert episode.task == environment.info.task == TASK
    assert episode.instruction == "hand it over"
    assert episode.cameras == environment.info.cameras == ("head_camera", "left_camera")
    assert episode.rgb.shape == (ROWS - 1, 2, HEIGHT, WIDTH, 3)
    assert environment.info.image == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(episode.joints, joints_RA[:-1])
    np.testing.assert_array_equal(episode.actions, joints_RA[1:])
    assert (episode.clouds is None) == (layout == "head")
    assert environment.info.control_hz == pytest.approx(250 / 15)


@pytest.mark.parametrize("true_rgb", [False, True], ids=["swapped", "marked"])
def test_colours_are_those_of_the_simulator(
    tmp_path: Path, layout: str, true_rgb: bool, opened: Opened
) -> None:
    write_layout(tmp_path, layout, true_rgb=true_rgb)
    frames = only(opened(tmp_path)).rgb
    for t in range(len(frames[:])):
        difference = np.abs(frames[t][0].astype(int) - picture(t))
        assert np.median(difference) <= 3
    left_3, right_3 = frames[2][0][5, 3], frames[2][0][5, -3]
    assert left_3[0] > 100
    assert left_3[2] < 60
    assert right_3[2] > 100
    assert right_3[0] < 60


def test_frames_are_read_by_index_slice_and_array(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path)
    frames = only(opened(tmp_path, cameras=("left_camera", "head_camera"))).rgb
    whole = frames[:]
    assert whole.shape == frames.shape
    np.testing.assert_array_equal(frames[1:4], whole[1:4])
    np.testing.assert_array_equal(frames[::-2], whole[::-2])
    np.testing.assert_array_equal(frames[[4, 0, 0]], whole[[4, 0, 0]])
    np.testing.assert_array_equal(frames[-1], whole[4])
    assert frames[3:3].shape == (0, *frames.shape[1:])
    with pytest.raises(IndexError):
        frames[5]


def test_cameras_have_one_name_in_all_layouts(tmp_path: Path, layout: str, opened: Opened) -> None:
    every = ("head_camera", "front_camera", "left_camera", "right_camera")
    write_layout(tmp_path, layout, cameras=every)
    ours = only(opened(tmp_path, cameras=every))
    theirs = only(
        opened(
            tmp_path, cameras=("cam_head", "cam_third_view", "cam_left_wrist", "cam_right_wrist")
        )
    )
    assert ours.cameras == theirs.cameras == every
    np.testing.assert_array_equal(ours.rgb[:], theirs.rgb[:])
    blues = ours.rgb[0][:, 5, -3, 2].astype(int)
    assert (np.diff(blues) > 10).all()  # each camera has its own image, in the requested order


def test_zero_padding_of_clouds_is_dropped(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path)
    clouds = only(opened(tmp_path)).clouds
    assert clouds is not None
    assert len(clouds) == ROWS - 1
    assert clouds[0].xyz.shape == (6, 3)
    assert clouds[-1].rgb.dtype == np.uint8
    assert len(clouds[1:3]) == 2


def test_repeated_frames_are_kept_dropped_or_marked(
    tmp_path: Path, layout: str, opened: Opened
) -> None:
    joints_RA = vector()
    joints_RA[[2, 3]] = joints_RA[1]  # frames 1, 2 and 3 are equal
    path = write_layout(tmp_path, layout)
    replace_joints(path, joints_RA)
    kept = only(opened(tmp_path))
    assert kept.rgb.shape[0] == ROWS - 1
    dropped = only(opened(tmp_path, duplicates="drop"))
    np.testing.assert_array_equal(dropped.joints, joints_RA[[0, 1, 4]].astype(np.float32))
    np.testing.assert_array_equal(dropped.actions, joints_RA[[1, 4, 5]].astype(np.float32))
    np.testing.assert_array_equal(dropped.rgb[:], kept.rgb[:][[0, 1, 4]])
    marked = opened(tmp_path, duplicates="mark")
    assert marked.info.state_names == ("duplicate",)
    np.testing.assert_array_equal(only(marked).state["duplicate"], [0, 0, 1, 1, 0])
    assert len({e.digest for e in (kept, dropped, only(marked))}) == 3


@pytest.mark.parametrize("how", ["compressed", "of any length"])
def test_arrays_that_are_not_contiguous_are_read(tmp_path: Path, how: str, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    plain = only(opened(tmp_path))
    key = "observation/head_camera/rgb"
    with h5py.File(path, "r+") as file:
        data = [bytes(one) for one in file[key][:]]
        clouds = file["pointcloud"][:]
        del file[key], file["pointcloud"]
        file.create_dataset("pointcloud", data=clouds, chunks=(2, 8, 6), compression="gzip")
        if how == "compressed":
            file.create_dataset(key, data=np.array(data, "S"), chunks=(2,), compression="gzip")
        else:
            frames = file.create_dataset(key, (len(data),), h5py.vlen_dtype(np.uint8))
            for t, one in enumerate(data):
                frames[t] = np.frombuffer(one, np.uint8)
    other = only(opened(tmp_path))
    assert other.digest == plain.digest  # the same content, however it is stored
    np.testing.assert_array_equal(other.rgb[:], plain.rgb[:])
    np.testing.assert_array_equal(other.rgb[3], plain.rgb[3])
    assert other.clouds is not None
    assert plain.clouds is not None
    np.testing.assert_array_equal(other.clouds[2].xyz, plain.clouds[2].xyz)


def test_joint_parts_replace_a_missing_vector(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["joint_action/vector"]
    np.testing.assert_array_equal(only(opened(tmp_path)).joints, vector()[:-1].astype(np.float32))


def test_unused_matrices_may_be_missing(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        for name in ("intrinsic_cv", "extrinsic_cv", "cam2world_gl"):
            del file["observation/head_camera"][name]
    assert only(opened(tmp_path)).rgb[0].shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("array", [False, True], ids=["json", "array"])
def test_episode_i_has_instruction_i(tmp_path: Path, array: bool, opened: Opened) -> None:
    for number in range(3):
        write_newer(tmp_path, number, converted=True, array=array)
    texts = [episode.instruction for episode in opened(tmp_path).recorded()]
    assert texts == ["hand it over", "pass it on", "hand it over"]


def test_unseen_instructions_and_none(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path / "a")
    write_legacy(tmp_path / "b", instructions=False)
    assert only(opened(tmp_path / "a", instructions="unseen")).instruction == "give it"
    assert only(opened(tmp_path / "b")).instruction == "handover block"


def test_digest_covers_exactly_what_is_read(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path)
    before = only(opened(tmp_path)).digest
    with h5py.File(path, "r+") as file:
        file["endpose/left_endpose"] = np.zeros((ROWS, 7))
        file["observation/left_camera/rgb"][0] = b"damaged"
    assert only(opened(tmp_path)).digest == before
    assert only(opened(tmp_path, clouds="none")).digest != before
    with h5py.File(path, "r+") as file:
        file["joint_action/vector"][1, 0] += 0.001
    assert only(opened(tmp_path)).digest != before


def test_episodes_of_other_lengths_and_gaps_are_read(
    tmp_path: Path, layout: str, opened: Opened
) -> None:
    for number, rows in ((0, 4), (2, 6), (11, 3)):
        write_layout(tmp_path, layout, number, rows=rows)
    environment = opened(tmp_path)
    lengths = [episode.rgb.shape[0] for episode in environment.recorded()]
    assert lengths == ([3, 5, 2] if layout == "legacy" else [4, 6, 3])
    assert [e.name[-2:] for e in environment.recorded()] == ["00", "02", "11"]
    some = opened(tmp_path, limit=1, skip=("demo_clean-episode_0000000",))
    assert [e.name[-2:] for e in some.recorded()] == ["02"]


def test_data_may_be_a_file_a_folder_or_a_root_of_many_tasks(
    tmp_path: Path, layout: str, opened: Opened
) -> None:
    path = write_layout(tmp_path, layout)
    write_layout(tmp_path, layout, task="lift_pot")
    digests = {
        only(opened(place)).digest for place in (path, path.parent, path.parent.parent, tmp_path)
    }
    assert len(digests) == 1
    with pytest.raises(UserError, match=r"'stack_bowls_two' is not in the data.*handover_block"):
        opened(tmp_path, task="stack_bowls_two").recorded()


def test_other_folder_names_count_as_the_task_of_the_spec(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path, task="mine", config="once")
    assert only(opened(tmp_path, task="lift_pot")).task == "lift_pot"
    loose = tmp_path / "loose" / "episode3.hdf5"
    loose.parent.mkdir()
    path.rename(loose)
    assert only(opened(loose.parent)).name == "loose-episode_0000003"


def test_configurations_have_distinct_episode_names(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path)
    write_legacy(tmp_path, config="demo_randomized")
    write_newer(tmp_path / "newer")
    names = [episode.name for episode in opened(tmp_path).recorded()]
    assert len(set(names)) == 3


def test_robots_are_distinguished(tmp_path: Path, opened: Opened) -> None:
    write_newer(tmp_path)
    write_newer(tmp_path, robot="piper", rows=3)
    assert only(opened(tmp_path)).rgb.shape[0] == ROWS - 1
    assert only(opened(tmp_path, embodiment="piper")).rgb.shape[0] == 3
    with pytest.raises(UserError, match=r"embodiment: 'ur5-wsg' is not in the data.*piper"):
        opened(tmp_path, embodiment="ur5-wsg").recorded()


def test_recorded_episodes_of_robotwin_itself() -> None:
    task = "beat_block_hammer"
    for folder, length, clouds in (("beat_block_hammer", 4, True), ("demo_new", 5, False)):
        environment = build(Robotwin(task=task, data=DATA / folder, cameras=("cam_head",)))
        episode = only(environment)
        validate_episode(episode)
        assert episode.rgb.shape == (length, 1, 240, 320, 3)
        assert (episode.clouds is not None) == clouds
        red_HW3 = episode.rgb[0][0].astype(int)
        block = (red_HW3[..., 0] > 150) & (red_HW3[..., 1:].max(-1) < 60)
        assert block.sum() > 10  # the red block is red


def test_colours_of_robotwins_cloud_are_those_of_the_image() -> None:
    """Points projected with the file's matrices match the image colours, not the swapped ones."""
    environment = build(Robotwin(task="beat_block_hammer", data=DATA / "beat_block_hammer"))
    episode = only(environment)
    path = next(DATA.glob("beat_block_hammer/*/data/*.hdf5"))
    with h5py.File(path) as file:
        matrix = file["observation/head_camera/extrinsic_cv"][0].astype(np.float64)
        lens = file["observation/head_camera/intrinsic_cv"][0].astype(np.float64)
    assert episode.clouds is not None
    cloud = episode.clouds[0]
    uvw_P3 = (cloud.xyz @ matrix[:, :3].T + matrix[:, 3]) @ lens.T
    u, v = np.floor(uvw_P3[:, :2] / uvw_P3[:, 2:]).astype(int).T
    seen_P3 = episode.rgb[0][0][v, u].astype(int)
    assert np.abs(seen_P3 - cloud.rgb).mean() < 6
    assert np.abs(seen_P3[:, ::-1] - cloud.rgb).mean() > 10


def test_images_and_clouds_of_folders(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path / "data", 1)
    for t in range(ROWS):
        step = tmp_path / "png" / f"{TASK}-demo_clean-50_head_camera" / "episode_1"
        step.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(t)).save(step / f"step_{t:04}.png")
        points = tmp_path / "ply" / TASK / "episode_1"
        points.mkdir(parents=True, exist_ok=True)
        (points / f"step_{t:04}.ply").write_text(
            "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
            "property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
            f"end_header\n{t} 0 1 255 0 0\n"
        )
    environment = opened(tmp_path / "data", frames=tmp_path / "png", points=tmp_path / "ply")
    assert environment.info.image == (HEIGHT, WIDTH)
    episode = only(environment)
    validate_episode(episode)
    np.testing.assert_array_equal(episode.rgb[2][0], picture(2))  # PNG is lossless
    assert episode.rgb.shape[0] == ROWS - 1
    assert episode.clouds is not None
    assert [cloud.xyz[0, 0] for cloud in episode.clouds] == [0, 1, 2, 3, 4]
    (step / "step_0002.png").unlink()
    with pytest.raises(UserError, match="no image for frame 2: 5 images for 6 frames"):
        opened(tmp_path / "data", frames=tmp_path / "png").recorded()
    for path in list(step.iterdir()):
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(UserError, match=r"has no images, but files of type \.webp; convert them"):
        opened(tmp_path / "data", frames=tmp_path / "png").recorded()


def test_instruction_files_take_precedence(tmp_path: Path, opened: Opened) -> None:
    path = write_newer(tmp_path)
    sidecar = path.parents[1] / "instruction" / "episode_0000000.json"
    sidecar.parent.mkdir()
    sidecar.write_text(json.dumps({"seen": ["sidecar"], "unseen": ["other"]}))
    assert only(opened(tmp_path)).instruction == "sidecar"
