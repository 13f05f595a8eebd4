"""Shapes: P = points, H W = pixels"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgb2act_core import UserError
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.pointclouds import processing

K = np.array([[100.0, 0, 2], [0, 50, 1], [0, 0, 1]])


def cloud(count=50, seed=0):
    draw = np.random.default_rng(seed)
    return PointCloud(
        xyz=draw.normal(size=(count, 3)).astype(np.float32),
        rgb=draw.integers(0, 256, (count, 3), dtype=np.uint8),
    )


def same(a, b):
    return np.array_equal(a.xyz, b.xyz) and np.array_equal(a.rgb, b.rgb)


def test_non_finite_points_are_dropped_and_counted():
    xyz = np.arange(15, dtype=np.float64).reshape(5, 3)
    rgb = np.full((5, 3), 0.5)
    xyz[1, 2], xyz[2, 0], xyz[4, 1], rgb[3, 1] = np.nan, -np.inf, 1e300, np.nan
    found, dropped = processing.clean(xyz, rgb, source="x")
    assert dropped == 4
    assert found.xyz.tolist() == [[0, 1, 2]]
    assert found.xyz.dtype == np.float32
    assert found.rgb.tolist() == [[128, 128, 128]]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uint8", [0, 1, 255]),
        ("uint16", [0, 257, 65535]),
        ("int32", [0, 1, 255]),
        ("uint32", [0, 1, 255]),
        ("int64", [0, 1, 255]),
        ("float32", [0, 1 / 255, 1]),
        ("float64", [0, 1 / 255, 1]),
        (">f4", [0, 1 / 255, 1]),
        (">u2", [0, 257, 65535]),
    ],
)
def test_colours_are_converted_by_their_dtype(kind, values):
    found = processing.colours_to_uint8(np.array([values], kind), source="x")
    assert found.tolist() == [[0, 1, 255]]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64", "float16"])
def test_a_dark_colour_stays_dark(kind):
    """Integers with a maximum of 1 are not taken for floats, and the reverse."""
    top = {"uint8": 255, "uint16": 65535}.get(kind, 1)
    dark = np.array([[1 / 255 * top, 0, 0]]).astype(kind)
    assert processing.colours_to_uint8(dark, source="x").tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([[0, 0, 0], [0, 1.5, 0]]),
            "x: colour g of point 1 is 1.5, but float64 colours must",
        ),
        (
            np.array([[0, 0, 256]]),
            "x: colour b of point 0 is 256, but int64 colours must be in 0..255",
        ),
        (np.array([[-1, 0, 0]], np.int8), "x: colour r of point 0 is -1"),
        (np.array([["a", "b", "c"]]), "x: colours are <U1"),
    ],
)
def test_colours_out_of_range_are_rejected(values, message):
    with pytest.raises(UserError) as caught:
        processing.colours_to_uint8(values, source="x")
    assert str(caught.value).startswith(message)


def test_padding_of_robotwin_is_removed_and_not_counted():
    rows = np.zeros((6, 6), np.float32)
    rows[:3] = [0.1, 0.2, 0.3, 1, 0.5, 0]
    rows[1, 0] = np.nan
    found, dropped = processing.from_rows(rows, source="x", padded=True)
    assert (len(found.xyz), dropped) == (2, 1)
    assert found.rgb[0].tolist() == [255, 128, 0]
    assert processing.from_rows(rows[:, :3], source="x")[0].rgb[0].tolist() == [102] * 3
    with pytest.raises(UserError, match=r"^x: points have shape \(6, 5\)"):
        processing.from_rows(rows[:, :5], source="x")


def test_an_empty_cloud_is_an_error_with_its_frame():
    with pytest.raises(UserError, match=r"^episode 3 frame 17: the cloud has no points; "):
        processing.check_not_empty(cloud(0), source="episode 3 frame 17")


def projected(world_P3, rotation, shift):
    """Return u, v and depth as OpenCV's camera sees world points."""
    camera = world_P3 @ rotation.T + shift
    pixels = camera @ K.T
    return pixels[:, :2] / pixels[:, 2:], camera[:, 2]


@pytest.mark.parametrize("direction", ["world_to_camera", "camera_to_world"])
@pytest.mark.parametrize("axes", ["opencv", "opengl"])
def test_depth_is_projected_back_to_its_points(direction, axes):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    shift = np.array([0.1, -0.2, 0.3])
    depth = np.array([[1000, 0, 1500], [np.nan, 2000, np.inf]])  # millimetres
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    world_to_camera = np.eye(4)
    world_to_camera[:3] = np.c_[turn, shift]
    pose = world_to_camera
    if axes == "opengl":
        pose = np.diag([1.0, -1, -1, 1]) @ pose
    if direction == "camera_to_world":
        pose = np.linalg.inv(pose)
    found = processing.from_depth(
        depth, rgb, K, pose[:3], scale=0.001, direction=direction, axes=axes
    )
    uv, z = projected(found.xyz.astype(np.float64), turn, shift)
    # points are float32: 1e-7 of 2 m, times a focal length of less than 100 pixels
    np.testing.assert_allclose(uv, [[0, 0], [2, 0], [1, 1]], atol=1e-4)
    np.testing.assert_allclose(z, [1, 1.5, 2], atol=1e-6)
    assert np.array_equal(found.rgb, rgb[[0, 0, 1], [0, 2, 1]])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"rgb_HW3": np.zeros((2, 4, 3), np.uint8)}, "d: depth has shape"),
        ({"extrinsics": np.eye(4) * 2}, "d: the left 3x3 of the extrinsics is not a rotation"),
        ({"extrinsics": np.eye(3)}, "d: extrinsics have shape"),
        ({"intrinsics_33": np.zeros((3, 3))}, "d: intrinsics"),
    ],
)
def test_invalid_cameras_are_rejected(what, message):
    good = {
        "depth_HW": np.ones((2, 3)),
        "rgb_HW3": np.zeros((2, 3, 3), np.uint8),
        "intrinsics_33": K,
        "extrinsics": np.eye(4),
    }
    with pytest.raises(UserError, match=f"^{message}"):
        processing.from_depth(**good | what, source="d")


def test_crop_keeps_its_faces():
    one = PointCloud(
        xyz=np.float32([[0, 0, 0], [1, 1, 1], [1.1, 0, 0]]), rgb=np.zeros((3, 3), np.uint8)
    )
    assert len(processing.crop(one, (0, 0, 0), (1, 1, 1)).xyz) == 2
    with pytest.raises(UserError, match="give the lower corner of the box first"):
        processing.crop(one, (0, 0, 0), (1, -1, 1))


def test_the_ground_and_points_below_it_are_removed():
    draw = np.random.default_rng(0)
    table = np.c_[draw.uniform(-1, 1, (500, 2)), 0.7 + draw.normal(0, 0.001, 500)]
    thing = draw.uniform([0, 0, 0.72], [0.1, 0.1, 0.8], (200, 3))
    under = draw.uniform([-1, -1, 0], [1, 1, 0.6], (50, 3))
    xyz = np.concatenate([table, thing, under]).astype(np.float32)
    found = processing.remove_ground(PointCloud(xyz=xyz, rgb=np.zeros_like(xyz, np.uint8)))
    assert np.array_equal(found.xyz, xyz[500:700])


def test_a_cloud_without_ground_is_unchanged():
    draw = np.random.default_rng(0)
    wall = np.c_[np.zeros(300), draw.uniform(size=(300, 2))].astype(np.float32)
    for xyz in (wall, wall[:2], wall[:0]):
        one = PointCloud(xyz=xyz, rgb=np.zeros(xyz.shape, np.uint8))
        assert same(processing.remove_ground(one), one)


def test_merge_keeps_order():
    both = processing.merge([cloud(3), cloud(2, seed=1)])
    assert np.array_equal(both.xyz[3:], cloud(2, seed=1).xyz)
    assert len(processing.merge([]).xyz) == 0


seeds = st.integers(0, 2**31)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 100), st.floats(1e-3, 1e3), st.tuples(*[st.floats(-10, 10)] * 3))
def test_the_unit_sphere_is_invariant_to_translation_and_scale(seed, count, scale, shift):
    xyz = cloud(count, seed).xyz
    found = processing.unit_sphere(xyz)
    moved = ((xyz + np.float64(shift)) * scale).astype(np.float32)
    # float32 coordinates below 1, means of at most 100
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    assert count < 2 or np.sqrt((found**2).sum(1).max()) == pytest.approx(1, abs=1e-6)
    if count > 3:  # fewer may be too close together for float32 after the shift
        np.testing.assert_allclose(processing.unit_sphere(moved), found, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_coinciding_points_move_to_the_origin(value):
    assert not processing.unit_sphere(np.full((7, 3), value, np.float32)).any()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_resampling_returns_the_given_number_of_points(seed, count, wanted, copies):
    one = cloud(count, seed)
    if copies:
        one = processing.select(one, np.arange(count) // 2)
    found = processing.resample(one, wanted)
    assert len(found.xyz) == len(found.rgb) == wanted
    assert same(found, processing.resample(one, wanted))
    rows = {(*xyz, *rgb) for xyz, rgb in zip(one.xyz.tolist(), one.rgb.tolist(), strict=True)}
    kept = [(*xyz, *rgb) for xyz, rgb in zip(found.xyz.tolist(), found.rgb.tolist(), strict=True)]
    assert set(kept) <= rows
    assert kept[0] == (*one.xyz[0].tolist(), *one.rgb[0].tolist())
    if wanted >= count:
        assert same(processing.select(found, slice(count)), one)
        assert set(kept) == rows


def test_padding_repeats_the_cloud_in_order():
    one = cloud(3)
    assert np.array_equal(processing.resample(one, 8).xyz, one.xyz[[0, 1, 2, 0, 1, 2, 0, 1]])


@given(seeds, st.sampled_from(["uint8", "uint16", "int32", "float32", "float64"]))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_uint8_levels_survive_every_dtype(seed, kind):
    wanted = np.random.default_rng(seed).integers(0, 256, (9, 3)).astype(np.uint8)
    scale = {"uint16": 257, "float32": 1 / 255, "float64": 1 / 255}.get(kind, 1)
    found = processing.colours_to_uint8((wanted * np.float64(scale)).astype(kind), source="x")
    assert np.array_equal(found, wanted)
