"""Shapes: P = points, N = samples, Q = queries, k = neighbours"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgb2act_core.pointclouds import kernels, sampling


def plain_farthest(xyz_P3, count):
    near_P = np.full(len(xyz_P3), np.inf, np.float32)
    chosen, last = [], 0
    for _ in range(count):
        chosen.append(last)
        near_P = np.minimum(near_P, ((xyz_P3 - xyz_P3[last]) ** 2).sum(-1))
        last = int(near_P.argmax())
    return np.array(chosen, np.int64)


def plain_nearest(xyz_P3, queries_Q3, count):
    return np.stack(
        [((xyz_P3 - q_3) ** 2).sum(-1).argsort(kind="stable")[:count] for q_3 in queries_Q3]
    )


def points(kind, count=600, seed=0):
    draw = np.random.default_rng(seed)
    if kind == "lattice":  # ties everywhere
        grid = np.stack(np.meshgrid(*[np.arange(9)] * 3), -1).reshape(-1, 3)
        return draw.permutation(grid).astype(np.float32)
    found = draw.normal(size=(count, 3))
    if kind == "millimetres":
        found = found.round(2)
    if kind == "copies":
        found = np.repeat(found[: count // 4], 4, axis=0)
    if kind == "plane":
        found[:, 2] = 0
    if kind == "line":
        found[:, 1:] = 0
    if kind == "coinciding":
        found[:] = found[0]
    if kind == "outlier":
        found[7] = 1e12
    if kind == "two":
        found = found[:2]
    return found.astype(np.float32)


KINDS = ["normal", "lattice", "millimetres", "copies", "plane", "line", "coinciding", "two"]
KINDS += ["outlier"]


@pytest.fixture(params=["numba", "numpy"])
def engine(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(kernels, "compiled", lambda function: None)
    elif kernels.compiled(kernels.farthest) is None:
        pytest.skip("numba is not installed")
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_samples_equal_a_plain_loop(engine, kind):
    xyz = points(kind)
    for count in (0, 1, 33, 300):
        expected = plain_farthest(xyz, count)
        assert np.array_equal(sampling.farthest_points(xyz, count), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_equal_a_plain_loop(engine, kind):
    xyz = points(kind)
    queries = np.concatenate([xyz[:40], points("normal", 20, seed=1) * 3])
    for count in {1, min(32, len(xyz)), len(xyz)}:
        expected = plain_nearest(xyz, queries, count)
        assert np.array_equal(sampling.nearest_points(xyz, queries, count), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_gives_the_same(kind):
    xyz = points(kind)
    count = min(len(xyz), 16)
    found = sampling.farthest_points_torch(torch.from_numpy(xyz)[None], 100)[0].numpy()
    assert np.array_equal(found, plain_farthest(xyz, 100))
    queries = torch.from_numpy(xyz[:20])
    near = sampling.nearest_points_torch(torch.from_numpy(xyz), queries, count).numpy()
    assert np.array_equal(near, plain_nearest(xyz, xyz[:20], count))


def test_torch_ignores_padding_with_point_0():
    long, short = points("normal", 300), points("normal", 200, seed=3)
    filled = np.concatenate([short, np.repeat(short[:1], 100, axis=0)])
    found = sampling.farthest_points_torch(torch.from_numpy(np.stack([long, filled])), 150).numpy()
    assert np.array_equal(found[0], plain_farthest(long, 150))
    assert np.array_equal(found[1], plain_farthest(short, 150))


def test_more_samples_than_points_repeat_point_0(engine):
    assert sampling.farthest_points(points("two"), 5).tolist() == [0, 1, 0, 0, 0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 2**31), st.integers(1, 1000))
def test_samples_equal_a_plain_loop_on_any_grid(count, wanted, seed, steps):
    """A coarse grid has many ties, a fine one has none."""
    xyz = np.random.default_rng(seed).integers(-steps, steps + 1, (count, 3)).astype(np.float32)
    xyz /= np.float32(steps)
    assert np.array_equal(sampling.farthest_points(xyz, wanted), plain_farthest(xyz, wanted))
    near = min(count, wanted)
    expected = plain_nearest(xyz, xyz[:5], near)
    assert np.array_equal(sampling.nearest_points(xyz, xyz[:5], near), expected)


@pytest.mark.parametrize(
    ("xyz", "count", "message"),
    [
        (np.zeros((0, 3)), 1, "P >= 1"),
        (np.zeros((4, 2)), 1, "P >= 1"),
        (np.array([[0, 0, np.nan]]), 1, "NaN"),
        (np.zeros((4, 3)), -1, "0 or more"),
    ],
)
def test_invalid_points_are_rejected(xyz, count, message):
    with pytest.raises(ValueError, match=message):
        sampling.farthest_points(xyz, count)


def test_input_is_not_changed():
    xyz = points("normal")
    same = xyz.copy()
    sampling.farthest_points(xyz, 10)
    sampling.nearest_points(xyz, xyz[:3], 4)
    assert np.array_equal(xyz, same)
