"""Behaviour of the teacher beyond what every teacher must do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rgb2act_ulip import build
from rgb2act_ulip.config import Ulip
from rgb2act_ulip.preprocess import prepare

from rgb2act_core import UserError, pointclouds
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.spec import reader  # internal: a complete spec needs other plugins

TINY = {"weights": "random", "variant": "tiny", "points": 256}
BUILT = build(Ulip(**TINY))
# of the largest value: float32 sums of at most 200 terms in another order, in a few layers
CLOSE = 1e-4


def cloud(count=300, seed=0):
    draw = np.random.default_rng(seed)
    return PointCloud(
        xyz=draw.normal(size=(count, 3)).astype(np.float32),
        rgb=draw.integers(0, 256, (count, 3), dtype=np.uint8),
    )


def moved(one, scale, shift):
    return PointCloud(xyz=(one.xyz * np.float64(scale) + shift).astype(np.float32), rgb=one.rgb)


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.sampled_from([0.125, 2.0, 64.0]), st.integers(-3, 3))
def test_position_and_scale_do_not_matter(seed, scale, shift):
    one = cloud(200, seed)
    one = PointCloud(xyz=(one.xyz * 1024).round() / 1024, rgb=one.rgb)  # so that moving is exact
    found = BUILT.embed([one, moved(one, scale, scale * shift)])
    # unit spheres of both clouds differ by float32 rounding, and deep layers amplify it
    assert difference(found[1], found[0]) < 1e-3


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from(["free", "copies", "one point"]))
def test_tiny_and_degenerate_clouds_are_embedded(seed, count, kind):
    one = cloud(count, seed)
    if kind == "copies":
        one = pointclouds.select(one, np.arange(count) // 3)
    if kind == "one point":
        one.xyz[:] = one.xyz[0]
    found = BUILT.embed([one])
    assert found.isfinite().all()
    assert torch.equal(found, BUILT.embed([one]))


def test_order_matters_unless_sorted():
    one = cloud()
    other = pointclouds.select(one, np.random.default_rng(1).permutation(300))
    found = BUILT.embed([one, other])
    assert difference(found[0], found[1]) > 1e-3
    found = build(Ulip(**TINY, order="sorted")).embed([one, other])
    assert difference(found[0], found[1]) < CLOSE  # rows of a product may round differently


def test_non_finite_points_are_dropped_with_a_message(capsys):
    one = cloud(100)
    broken = pointclouds.select(cloud(102), np.r_[50:52, 0:50, 52:102])
    broken.xyz[0, 1], broken.xyz[1, 2] = np.nan, np.inf
    finite = PointCloud(xyz=broken.xyz[2:], rgb=broken.rgb[2:])
    found = BUILT.embed([one, broken])
    assert torch.equal(found, BUILT.embed([one, finite]))
    printed = capsys.readouterr()
    assert "2 points that are not finite left out of 2 clouds" in printed.out + printed.err


def test_a_cloud_without_points_in_the_crop_is_an_error_that_names_it():
    built = build(Ulip(**TINY, crop=(5, 5, 5, 6, 6, 6)))
    with pytest.raises(UserError, match=r"^ulip: cloud 0 of 2: the cloud has no points; "):
        built.embed([cloud(), cloud()])


def test_crop_and_ground_are_applied():
    floor = cloud(400)
    floor.xyz[:, 2] = 0
    thing = cloud(50, seed=1)
    thing.xyz[:] = thing.xyz / 10 + [0, 0, 1]
    both = pointclouds.merge([floor, thing])
    config = Ulip(**TINY, ground=0.01)
    assert np.array_equal(prepare(both, config, "x")[0].world, thing.xyz)
    config = Ulip(**TINY, crop=(-9, -9, 0.1, 9, 9, 9))
    assert np.array_equal(prepare(both, config, "x")[0].world, thing.xyz)


def test_clouds_are_subsampled_and_filled_up_on_request():
    config = Ulip(**TINY)
    assert len(prepare(cloud(1000), config, "x")[0].xyz) == 256
    assert len(prepare(cloud(20), config, "x")[0].xyz) == 20
    assert len(prepare(cloud(5), config, "x")[0].xyz) == 8  # one group
    filled = prepare(cloud(20), Ulip(**TINY, fill=True), "x")[0]
    assert np.array_equal(filled.world, np.resize(cloud(20).xyz, (256, 3)))


def test_groups_have_tokens_and_centres_in_world_coordinates():
    one, other = cloud(), moved(cloud(seed=1), 0.01, 7.0)
    found = BUILT.groups([one, other])
    assert (found.tokens.shape, found.centres.shape) == ((2, 24, 48), (2, 24, 3))
    for given_cloud, centres in zip([one, other], found.centres.numpy(), strict=True):
        assert {tuple(p) for p in centres.tolist()} <= {tuple(p) for p in given_cloud.xyz.tolist()}
    assert found.tokens.dtype == torch.float32


def test_embeddings_are_normalised_on_request():
    plain = BUILT.embed([cloud()])
    unit = build(Ulip(**TINY, unit=True)).embed([cloud()])
    assert float(unit.norm()) == pytest.approx(1, abs=1e-5)  # float32 of 40 squares
    torch.testing.assert_close(unit, plain / plain.norm(), atol=CLOSE, rtol=0)
    assert abs(float(plain.norm()) - 1) > 0.01


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_close(precision):
    found = build(Ulip(**TINY, precision=precision)).embed([cloud()])
    assert found.dtype == torch.float32
    assert 0 < difference(found, BUILT.embed([cloud()])) < 0.05


def test_no_clouds_give_no_embeddings():
    assert BUILT.embed([]).shape == (0, 40)


def test_clouds_of_several_batches_keep_their_order():
    many = [cloud(100 + i, seed=i) for i in range(19)]
    found = BUILT.embed(many)
    torch.testing.assert_close(found[17:18], BUILT.embed(many[17:18]), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"points": 0}, "must be >= 1"),
        ({"crop": (0, 0, 0, 1, 0, 1)}, "lowest corner first"),
        ({"crop": (0, 0, 0)}, "lowest corner first"),
        ({"heads": 5}, "heads: must divide 384 channels, got 5"),
        ({"variant": "tiny"}, "variant 'tiny' has no official weights"),
    ],
)
def test_invalid_config_values_are_rejected(fields, message):
    with pytest.raises(ValueError, match=message):
        Ulip(**fields)


def test_a_spec_can_set_every_field():
    from rgb2act_ulip import rgb2act_teachers

    (component,) = rgb2act_teachers()
    table = {"weights": "random", "crop": [0, 0.0, 0, 1, 1, 1], "ground": 0.01, "heads": 6}
    config = reader.structure_config(component, table)
    assert config == Ulip(weights="random", crop=(0, 0, 0, 1, 1, 1), ground=0.01, heads=6)
