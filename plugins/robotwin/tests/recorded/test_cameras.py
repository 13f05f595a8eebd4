"""Depth and camera matrices have one convention in all layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rgb2act_robotwin.environment import RobotwinEnvironment
from rgb2act_robotwin.recorded import cameras
from rgb2act_robotwin.recorded.layouts import layout_of
from robotwin_episodes import (
    HEIGHT,
    INTRINSICS,
    WIDTH,
    world_to_camera,
    write_layout,
    write_legacy,
    write_newer,
)

from rgb2act_core import UserError
from rgb2act_core.testing import validate_episode

Opened = Callable[..., RobotwinEnvironment]
ROUNDING = 1e-6  # of float32 matrices near 1 and their inverses; points multiply three of them
EVERYTHING = {"crop_low": (-9.0, -9.0, -9.0), "crop_high": (9.0, 9.0, 9.0), "cloud_points": 0}


def matrices(path: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    layout = layout_of(path)
    return (
        cameras.extrinsics(path, layout, "head_camera", 2),
        cameras.intrinsics(path, layout.cameras["head_camera"], 2),
    )


def test_extrinsics_map_world_to_camera_in_every_layout(tmp_path: Path, layout: str) -> None:
    extrinsics_34, intrinsics_33 = matrices(write_layout(tmp_path, layout))
    np.testing.assert_allclose(extrinsics_34, world_to_camera(), atol=ROUNDING)
    np.testing.assert_array_equal(intrinsics_33, INTRINSICS)


def test_inverted_matrices_are_detected_by_the_table(tmp_path: Path) -> None:
    """The converter pads extrinsic_cv to (4, 4) if a file has no cam2world_gl."""
    path = write_newer(tmp_path, converted=True, inverted=True)
    np.testing.assert_allclose(matrices(path)[0], world_to_camera(), atol=ROUNDING)


def test_legacy_file_with_opengl_matrices_only(tmp_path: Path) -> None:
    path = write_legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["observation/head_camera/extrinsic_cv"]
    np.testing.assert_allclose(matrices(path)[0], world_to_camera(), atol=ROUNDING)


def test_depth_is_metres(tmp_path: Path, layout: str) -> None:
    path = write_layout(tmp_path, layout, depth=True)
    depth_HW = cameras.depth(path, layout_of(path).cameras["head_camera"], 1)
    assert depth_HW.shape == (HEIGHT, WIDTH)
    assert depth_HW[5, 5] == 1.0
    assert depth_HW[0, 0] == 0.0


def test_episodes_have_the_depth_of_all_cameras(
    tmp_path: Path, layout: str, opened: Opened
) -> None:
    write_layout(tmp_path, layout, depth=True)
    (episode,) = opened(tmp_path, clouds="none", cameras=("head_camera",), stride=2).recorded()
    depth = episode.depth["head_camera"]
    assert len(depth) == episode.rgb.shape[0]
    assert (depth[1][0, 0], depth[1][5, 5]) == (0.0, 1.0)


def test_clouds_are_computed_from_depth(tmp_path: Path, layout: str, opened: Opened) -> None:
    write_layout(tmp_path, layout, depth=True)
    (episode,) = opened(tmp_path, clouds="depth", **EVERYTHING).recorded()
    validate_episode(episode)
    assert episode.clouds is not None
    cloud = episode.clouds[0]
    assert len(cloud.xyz) == HEIGHT * WIDTH - 1  # one pixel has no depth
    rows_4 = np.repeat([HEIGHT // 2 - 1, HEIGHT // 2], 2)
    columns_4 = np.tile([WIDTH // 2 - 1, WIDTH // 2], 2)
    middle_43 = cloud.xyz[rows_4 * WIDTH + columns_4 - 1]  # the four pixels around the axis
    ahead = [-0.032, -0.45 + 0.6, 1.35 - 0.8]  # a metre from the camera
    np.testing.assert_allclose(middle_43.mean(axis=0), ahead, atol=10 * ROUNDING)
    left = cloud.xyz[:, 0] < -0.1
    assert cloud.rgb[left, 0].mean() > 100 > cloud.rgb[left, 2].mean()


def test_auto_prefers_stored_clouds_to_depth(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path / "both", depth=True)
    write_legacy(tmp_path / "depth", depth=True, clouds=False)
    (stored,) = opened(tmp_path / "both").recorded()
    (made,) = opened(tmp_path / "depth", **{**EVERYTHING, "cloud_points": 10}).recorded()
    assert stored.clouds is not None
    assert made.clouds is not None
    assert len(stored.clouds[0].xyz) == 6
    assert len(made.clouds[0].xyz) == 10


def test_one_matrix_for_all_frames(tmp_path: Path, opened: Opened) -> None:
    """A camera that does not move may store its matrices once."""
    box = {"clouds": "depth", "crop_low": (-9, -9, -9), "crop_high": (9, 9, 9)}
    path = write_legacy(tmp_path, depth=True)
    (every,) = opened(tmp_path, **box).recorded()
    with h5py.File(path, "r+") as file:
        for name in ("intrinsic_cv", "extrinsic_cv"):
            key = f"observation/head_camera/{name}"
            matrix = file[key][0]
            del file[key]
            file[key] = matrix
    (constant,) = opened(tmp_path, **box).recorded()
    assert every.clouds is not None
    assert constant.clouds is not None
    np.testing.assert_array_equal(constant.clouds[3].xyz, every.clouds[3].xyz)


def test_clouds_of_several_cameras_are_merged(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path, depth=True)
    options = {**EVERYTHING, "clouds": "depth", "cloud_cameras": ("cam_head", "left_camera")}
    (episode,) = opened(tmp_path, **options).recorded()
    assert episode.clouds is not None
    assert len(episode.clouds[0].xyz) == 2 * (HEIGHT * WIDTH - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clouds": "depth"}, "has no depth"),
        ({"clouds": "stored"}, "has no point clouds; set clouds = 'depth'"),
    ],
)
def test_missing_arrays_are_reported(
    tmp_path: Path, options: dict[str, str], message: str, opened: Opened
) -> None:
    write_legacy(tmp_path, clouds=False)
    with pytest.raises(UserError, match=message):
        opened(tmp_path, **options).recorded()


def test_an_empty_crop_names_the_frame(tmp_path: Path, opened: Opened) -> None:
    write_legacy(tmp_path, depth=True)
    (episode,) = opened(tmp_path, clouds="depth", crop_low=(0.5, 0.3, 1.9)).recorded()
    assert episode.clouds is not None
    with pytest.raises(UserError, match=r"depth of head_camera: frame 3: the cloud has no points"):
        episode.clouds[3]


@pytest.mark.parametrize("clouds", ["stored", "depth"])
def test_clouds_are_grey_on_request(
    tmp_path: Path, opened: Callable[..., RobotwinEnvironment], clouds: str
) -> None:
    path = write_legacy(tmp_path, depth=True)
    settings: dict[str, Any] = {"clouds": clouds, **EVERYTHING}
    (coloured,) = opened(tmp_path, **settings).recorded()
    before = list(coloured.clouds or ())
    if clouds == "stored":  # wrong colours are not read
        with h5py.File(path, "r+") as file:
            points = file["pointcloud"][:]
            points[..., 3:] *= 255
            del file["pointcloud"]
            file["pointcloud"] = points
    (grey,) = opened(tmp_path, cloud_colours="grey", **settings).recorded()
    for one, other in zip(grey.clouds or (), before, strict=True):
        np.testing.assert_array_equal(one.xyz, other.xyz)
        assert (one.rgb == 102).all()
        assert not (other.rgb == 102).all()
    assert grey.digest != coloured.digest
