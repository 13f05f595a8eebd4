"""Faults planted into RoboTwin's recordings are found, and nothing in the recordings themselves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
from PIL import Image
from planted_faults import FAULTS
from rgb2act_robotwin import Robotwin, build, inspect
from rgb2act_robotwin.environment import RobotwinEnvironment
from robotwin_episodes import HEIGHT, TASK, WIDTH, write_layout, write_legacy, write_newer

from rgb2act_core import UserError
from rgb2act_core.interfaces import Episode, Finding, Severity
from rgb2act_core.linting import Sample, check_episodes

DATA = Path(__file__).parents[1] / "data"
Opened = Callable[..., RobotwinEnvironment]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two recordings with the joints that RoboTwin's collector recorded."""
    root = tmp_path_factory.mktemp("samples")
    with np.load(DATA / "motions.npz") as motions:
        for number, joints_RA in enumerate(motions.values()):
            write_legacy(root, number, rows=len(joints_RA), joints=joints_RA.astype(np.float64))
    return root


@pytest.fixture
def copied(samples: Path, tmp_path: Path) -> Path:
    """Return a copy of the recordings that a test may change."""
    return shutil.copytree(samples, tmp_path / "copy")


@pytest.fixture(scope="module")
def episodes(samples: Path) -> list[Episode]:
    """Return the episodes with images and clouds in memory."""
    opened = build(Robotwin(task=TASK, data=samples, cameras=("head_camera", "left_camera")))
    return [
        attrs.evolve(e, rgb=np.asarray(e.rgb[:]), clouds=list(e.clouds or ()))
        for e in opened.recorded()
    ]


def file_of(root: Path, number: int = 0) -> Path:
    return root / TASK / "demo_clean" / "data" / f"episode{number}.hdf5"


def findings(environment: RobotwinEnvironment) -> list[Finding]:
    found = check_episodes(environment.recorded(), environment.info, Sample(positions=4))
    return [*environment.check_data(), *found]


def rules(environment: RobotwinEnvironment) -> list[str]:
    return [finding.rule for finding in findings(environment)]


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 4}, {"duplicates": "drop", "stride": 8}, {"clouds": "none"}],
    ids=str,
)
def test_recordings_have_no_findings(
    samples: Path, opened: Opened, options: dict[str, Any]
) -> None:
    assert list(map(str, findings(opened(samples, **options)))) == []


def test_short_samples_have_no_findings() -> None:
    for folder in ("beat_block_hammer", "demo_new"):
        environment = build(Robotwin(task="beat_block_hammer", data=DATA / folder))
        assert list(map(str, findings(environment))) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(episodes: list[Episode], samples: Path, name: str) -> None:
    plant, rule = FAULTS[name]
    info = build(Robotwin(task=TASK, data=samples, cameras=("head_camera", "left_camera"))).info
    found = check_episodes(plant(episodes, np.random.default_rng(0)), info, Sample(positions=4))
    assert rule in {finding.rule for finding in found}, list(map(str, found))


def change(path: Path, key: str, values: Callable[[Any], Any]) -> None:
    """Replace an array of a file."""
    with h5py.File(path, "r+") as file:
        new = values(file[key][:])
        del file[key]
        file[key] = new


def test_joints_in_degrees(copied: Path, opened: Opened) -> None:
    arms_A = np.where(np.arange(14) % 7 == 6, 1, 180 / np.pi)
    change(file_of(copied), "joint_action/vector", lambda joints: joints * arms_A)
    (finding, *_) = [f for f in findings(opened(copied)) if f.rule == "degrees"]
    assert finding.severity is Severity.ERROR
    assert "look like degrees" in finding.problem


def test_an_outlier_names_joint_episode_and_frame(copied: Path, opened: Opened) -> None:
    def spoiled(joints_RA: Any) -> Any:
        joints_RA[80, 2] = 50
        return joints_RA

    change(file_of(copied), "joint_action/vector", spoiled)
    found = [f for f in findings(opened(copied)) if f.rule == "outlier"]
    assert [(f.source, f.subject, f.frame) for f in found] == [
        ("episode demo_clean-episode_0000000", "left_joint3", 80)
    ]


def test_single_arrays_that_drift_from_the_vector(copied: Path, opened: Opened) -> None:
    change(
        file_of(copied),
        "joint_action/left_arm",
        lambda arm: arm + np.linspace(0, 0.3, len(arm))[:, None],
    )
    (finding,) = opened(copied).check_data()
    assert (finding.rule, finding.severity) == ("robotwin.vector", Severity.ERROR)
    assert finding.source == str(file_of(copied))
    assert finding.frame is not None
    assert finding.frame > 5


@pytest.mark.parametrize("key", ["timestamp", "additional_info/timestamps"])
def test_time_goes_backwards(copied: Path, opened: Opened, key: str) -> None:
    path = file_of(copied)
    with h5py.File(path, "r+") as file:
        times = np.arange(len(file["joint_action/vector"])) * 15 / 250
        file[key] = times
    assert rules(opened(copied)) == []
    with h5py.File(path, "r+") as file:
        file[key][40:] -= 1
    (finding,) = findings(opened(copied))
    assert (finding.rule, finding.frame) == ("time", 40)


def test_images_and_joints_of_different_lengths(tmp_path: Path, layout: str) -> None:
    path = write_layout(tmp_path, layout, rows=10)
    key = "joint_action/vector" if layout == "legacy" else "state/left_arm_joint_states"
    camera = "observation/head_camera/rgb" if layout == "legacy" else "vision/cam_head/colors"
    for name in (
        [key]
        if layout == "legacy"
        else [
            f"{group}/{side}_{part}_joint_states"
            for group in ("state", "action")
            for side in ("left", "right")
            for part in ("arm", "ee")
        ]
    ):
        change(path, name, lambda array: array[:7])
    message = f"{path}: {camera}: has 10 frames, {key} has 7"
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        build(Robotwin(task=TASK, data=tmp_path)).recorded()
    found = inspect(tmp_path)
    assert found is not None
    assert any(message in problem for problem in found.episodes[0].problems)


def test_the_last_image_may_be_missing(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path, rows=10)
    for camera in ("head_camera", "left_camera"):
        change(path, f"observation/{camera}/rgb", lambda images: images[:9])
    assert opened(tmp_path).recorded()[0].rgb.shape[0] == 9


def test_an_unused_camera_of_another_length_is_a_warning(tmp_path: Path, opened: Opened) -> None:
    path = write_legacy(tmp_path, rows=10)
    change(path, "observation/left_camera/rgb", lambda images: images[:4])
    (finding,) = opened(tmp_path).check_data()
    assert (finding.rule, finding.severity) == ("robotwin.length", Severity.WARNING)
    assert "observation/left_camera/rgb: has 4 frames, joint_action/vector has 10" in str(finding)


@pytest.mark.parametrize("group", ["state", "action"])
def test_grippers_from_0_to_100_are_refused(tmp_path: Path, opened: Opened, group: str) -> None:
    path = write_newer(tmp_path)
    change(path, f"{group}/right_ee_joint_states", lambda values: 100 * values)
    with pytest.raises(UserError, match=f"{group}/right_ee_joint_states: frame .: right_gripper"):
        opened(tmp_path).recorded()


def test_files_that_are_passed_over(copied: Path, opened: Opened) -> None:
    folder = file_of(copied).parent
    shutil.copy(file_of(copied), folder / "episode7.HDF5")
    shutil.copy(file_of(copied), folder / "last.hdf5")
    (folder / "episode9.hdf5").symlink_to("missing.hdf5")
    found = {Path(f.source).name: f for f in opened(copied).check_data()}
    assert set(found) == {"episode7.HDF5", "last.hdf5", "episode9.hdf5"}
    assert {f.rule for f in found.values()} == {"robotwin.ignored"}
    assert "its suffix is .HDF5; rename it to .hdf5" in str(found["episode7.HDF5"])
    assert "a link to a missing file" in str(found["episode9.hdf5"])


def test_two_files_of_one_episode_are_named_by_inspect(copied: Path) -> None:
    shutil.copy(file_of(copied), file_of(copied).with_name("episode1 (1).hdf5"))
    with pytest.raises(UserError, match=r"is episode 1 as well as .*; remove or rename one"):
        inspect(copied)


def test_slow_recordings_need_their_save_freq(tmp_path: Path, opened: Opened) -> None:
    with np.load(DATA / "motions.npz") as motions:
        joints_RA = motions["episode0"][::10].astype(np.float64)
    write_legacy(tmp_path, rows=len(joints_RA), joints=joints_RA)
    environment = opened(tmp_path)
    assert environment.info.control_hz == pytest.approx(250 / 15)
    (finding,) = environment.check_data()
    assert (finding.rule, finding.severity) == ("robotwin.frequency", Severity.WARNING)
    assert "set [environment] save_freq" in finding.remedy
    slow = opened(tmp_path, save_freq=150)
    assert slow.info.control_hz == pytest.approx(250 / 150)
    assert list(slow.check_data()) == []
    with pytest.raises(UserError, match="save_freq: 0 is not from 1 to 250"):
        opened(tmp_path, save_freq=0)


def test_the_stored_frequency_comes_first(tmp_path: Path, opened: Opened) -> None:
    write_newer(tmp_path)
    assert opened(tmp_path, save_freq=150).info.control_hz == pytest.approx(250 / 15)


def test_third_view_cannot_be_acted_with(tmp_path: Path, opened: Opened, standin: Path) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        file["third_view_rgb"] = file["observation/head_camera/rgb"][:]
    for python, severity in ((None, Severity.WARNING), (standin, Severity.ERROR)):
        environment = opened(tmp_path, cameras=("third_view",), python=python)
        (finding,) = [f for f in environment.check_data() if f.rule == "robotwin.third_view"]
        assert finding.severity is severity


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (lambda d: d / 1000, "looks like metres, expected millimetres: its median is 1"),
        (np.zeros_like, "has no measurements"),
        (lambda d: np.repeat(d, 2, axis=1), "is 48x32, but observation/head_camera/rgb is 24x32"),
    ],
)
def test_depth(tmp_path: Path, opened: Opened, depth: Any, message: str) -> None:
    path = write_legacy(tmp_path, depth=True, clouds=False, cameras=("head_camera",))
    low = (-9.0, -9.0, -9.0)
    box = {"crop_low": low, "crop_high": (9.0, 9.0, 9.0), "cloud_points": 0}
    assert list(opened(tmp_path, **box).check_data()) == []
    change(path, "observation/head_camera/depth", depth)
    (finding,) = opened(tmp_path, **box).check_data()
    assert (finding.rule, finding.severity) == ("robotwin.depth", Severity.ERROR)
    assert message in finding.problem
    (finding,) = opened(tmp_path, clouds="none").check_data()
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize("kind", ["legacy", "converted"])
def test_clouds_of_nan_and_colours_of_another_scale(
    tmp_path: Path, opened: Opened, kind: str
) -> None:
    key = "pointcloud" if kind == "legacy" else "pointclouds"
    path = write_layout(tmp_path, kind)

    def with_nan(clouds: Any) -> Any:
        clouds[3, :, :3] = np.nan
        return clouds

    change(path, key, with_nan)
    with pytest.raises(UserError, match=f"{key}: frame 3: has no points"):
        opened(tmp_path).recorded()
    path = write_layout(tmp_path, kind)
    change(path, key, lambda clouds: clouds * [1, 1, 1, 255, 255, 255])
    with pytest.raises(UserError, match=r"frame 0: colours are up to .*, expected floats from 0"):
        opened(tmp_path).recorded()


def test_a_point_cloud_file_without_colours(tmp_path: Path, opened: Opened) -> None:
    rows = 6
    write_legacy(tmp_path / "data", rows=rows)
    folder = tmp_path / "points" / TASK / "episode_0"
    folder.mkdir(parents=True)
    xyz = np.random.default_rng(0).uniform(0, 1, (9, 3)).astype(np.float32)
    for row in range(rows):
        colours = {} if row == 4 else {"rgb": np.full((9, 3), row * 9 + 9, np.uint8)}
        np.savez(folder / f"step_{row:04d}.npz", xyz=xyz, **colours)
    environment = opened(tmp_path / "data", points=tmp_path / "points")
    (finding,) = environment.check_data()
    assert (finding.rule, finding.severity) == ("robotwin.clouds", Severity.ERROR)
    assert finding.source.endswith("step_0004.npz")
    assert "has no colours" in finding.problem
    assert "cloud_colours = 'grey'" in finding.remedy
    grey = opened(tmp_path / "data", points=tmp_path / "points", cloud_colours="grey")
    assert list(grey.check_data()) == []
    (episode,) = grey.recorded()
    assert {tuple(cloud.rgb.ravel().tolist()) for cloud in episode.clouds or ()} == {(102,) * 27}


def image_folder(root: Path, suffix: str, mode: str = "RGB") -> Path:
    folder = root / "frames" / TASK / "episode_0"
    folder.mkdir(parents=True)
    for row in range(6):
        values = np.full((HEIGHT, WIDTH), 40 * row, np.uint16 if mode == "I;16" else np.uint8)
        image = Image.fromarray(values)
        (image if mode == "I;16" else image.convert(mode)).save(folder / f"step_{row}{suffix}")
    return root / "frames"


def test_images_of_16_bits_are_refused(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path / "data")
    frames = image_folder(tmp_path, ".png", "I;16")
    with pytest.raises(UserError, match="has the mode 'I;16'; convert it to 8 bits per channel"):
        opened(tmp_path / "data", frames=frames).recorded()


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_other_image_formats_are_named(tmp_path: Path, opened: Opened, suffix: str) -> None:
    write_legacy(tmp_path / "data")
    frames = image_folder(tmp_path, suffix)
    with pytest.raises(UserError, match=f"files of type {suffix}; convert them to"):
        opened(tmp_path / "data", frames=frames).recorded()


def test_damage_of_an_unused_camera_keeps_the_episode(tmp_path: Path) -> None:
    for number in range(3):
        write_legacy(tmp_path, number, cameras=("head_camera", "front_camera"))
    write_legacy(tmp_path, 3, cameras=("head_camera",))
    found = inspect(tmp_path)
    assert found is not None
    assert found.environment["cameras"] == ["head_camera"]
    assert "skip" not in found.environment
    assert "camera 'front_camera' is missing" in found.episodes[3].problems[0]


def test_inspect_opens_all_cameras_of_intact_episodes(copied: Path) -> None:
    found = inspect(copied)
    assert found is not None
    (environment,) = found.environments()
    assert environment.info.cameras == ("head_camera", "left_camera")
    assert len(environment.recorded()) == 2


RECORDING = {"settings": {"shader": "default", "shadows": False}, "simulator": {"camera": "D435"}}


@pytest.mark.parametrize(
    ("recording", "subjects"),
    [
        (RECORDING, ["shader", "shadows"]),
        ({"simulator": {"shader": "default"}}, ["shader"]),  # recorded before shadows were optional
        ({"settings": {"shader": "rt"}}, []),
        ({"settings": [1]}, []),
        ([], []),
        (None, []),
    ],
)
def test_other_rendering_than_that_of_the_recording_is_reported(
    copied: Path, opened: Opened, standin: Path, recording: Any, subjects: list[str]
) -> None:
    path = file_of(copied).parents[1] / "recording.json"
    if recording is not None:
        path.write_text(json.dumps(recording))
    environment = opened(copied, python=standin)
    found = [f for f in environment.check_data() if f.rule == "robotwin.rendering"]
    assert [f.subject for f in found] == subjects
    assert all(f.source == str(path) and f.severity is Severity.WARNING for f in found)
    # without a simulator, nothing is rendered
    assert "robotwin.rendering" not in {f.rule for f in opened(copied).check_data()}
