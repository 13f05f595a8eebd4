import numpy as np
import pytest
import torch
from rgb2act_mini import rgb2act_teachers
from rgb2act_mini.config import CloudStats, PointNet
from rgb2act_mini.teachers import PROTOTYPES, CloudStatsTeacher, PointNetTeacher

from rgb2act_core import UserError
from rgb2act_core.interfaces import PointCloud

each = pytest.mark.parametrize("component", list(rgb2act_teachers()), ids=lambda c: c.name)
# float32 sums in another order: at most 512 terms near 1 in a layer, three layers
SUMS = {"atol": 1e-4, "rtol": 1e-4}
COLOURS = {
    "red": (220, 30, 20),
    "green": (30, 200, 40),
    "blue": (20, 40, 230),
    "yellow": (230, 220, 20),
    "neutral": (120, 120, 120),
}


def cloud(points=600, seed=0):
    rng = np.random.default_rng(seed)
    xyz = rng.normal(0, 0.2, (points, 3)).astype(np.float32)
    return PointCloud(xyz=xyz, rgb=rng.integers(0, 256, (points, 3), dtype=np.uint8))


def painted(**points):
    """Return a cloud of a few coloured blobs, by colour."""
    xyz = np.concatenate([np.asarray(where, np.float32) for where in points.values()])
    rgb = [np.tile(np.uint8(COLOURS[colour]), (len(where), 1)) for colour, where in points.items()]
    return PointCloud(xyz=xyz, rgb=np.concatenate(rgb))


def blob(centre, spread, points=50, seed=0):
    return np.random.default_rng(seed).normal(centre, spread, (points, 3)).astype(np.float32)


def take(cloud, order):
    return PointCloud(xyz=cloud.xyz[order], rgb=cloud.rgb[order])


@each
def test_embed_returns_one_finite_row_per_cloud(component):
    teacher = component.build(component.tiny)
    rows = teacher.embed([cloud(600), cloud(3), cloud(1)])
    assert rows.shape == (3, teacher.info.dim)
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    assert rows.isfinite().all()
    assert teacher.embed([]).shape == (0, teacher.info.dim)


@each
def test_embeddings_do_not_depend_on_the_batch(component):
    teacher = component.build(component.config())
    clouds = [cloud(points, seed) for seed, points in enumerate([600, 2, 5000, 511, 513] * 8)]
    together = teacher.embed(clouds)
    alone = torch.cat([teacher.embed([one]) for one in clouds])
    torch.testing.assert_close(together, alone, **SUMS)


def test_cloudstats_order_of_points_does_not_matter():
    teacher, one = CloudStatsTeacher(CloudStats()), cloud()
    shuffled = take(one, np.random.default_rng(1).permutation(600))
    rows = teacher.embed([one, shuffled])
    torch.testing.assert_close(rows[0], rows[1], atol=1e-6, rtol=1e-6)  # float64 sums, then float32


def test_cloudstats_find_each_colour():
    centres = np.random.default_rng(5).uniform(-0.4, 0.4, (5, 3))
    blobs = {name: blob(centre, 0.01) for name, centre in zip(COLOURS, centres, strict=True)}
    rows = CloudStatsTeacher(CloudStats()).embed([painted(**blobs)])[0].view(5, 7).numpy()
    for row, name in zip(rows, PROTOTYPES, strict=True):
        # the softmax over colours gives less than 1 % of a point to another colour
        assert row[0] == pytest.approx(0.2, abs=0.01), name
        np.testing.assert_allclose(row[1:4], blobs[name].mean(0), atol=0.003, err_msg=name)
        np.testing.assert_allclose(row[4:], blobs[name].std(0), atol=0.003, err_msg=name)


def test_cloudstats_missing_colour_falls_back_to_the_complete_cloud():
    grey = blob((0.1, 0.5, 0.02), 0.1)
    red = CloudStatsTeacher(CloudStats()).embed([painted(neutral=grey)])[0].view(5, 7)[0].numpy()
    # grey points weigh the same for red, so that their mean is plain; float32 of metres below 1,
    # and a deviation is the root of a difference of squares that rounds to 1e-7
    assert red[0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(red[1:4], grey.mean(0), atol=1e-4)
    np.testing.assert_allclose(red[4:], 0, atol=1e-3)


def test_cloudstats_with_a_hard_assignment():
    teacher = CloudStatsTeacher(CloudStats(width=1e-3))  # other colours' masses underflow to 0
    assert teacher.embed([painted(neutral=blob(0, 1))]).isfinite().all()


def test_cloudstats_treat_dark_points_as_neutral():
    black = PointCloud(xyz=blob(0, 1), rgb=np.zeros((50, 3), np.uint8))
    mass = CloudStatsTeacher(CloudStats()).embed([black])[0].view(5, 7)[:, 0]
    assert mass.argmax() == list(PROTOTYPES).index("neutral")
    assert mass[-1] > 0.99


def test_pointnet_depends_only_on_its_seed():
    first = PointNetTeacher(PointNet(seed=1)).embed([cloud()])
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, PointNetTeacher(PointNet(seed=1)).embed([cloud()]))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(first, PointNetTeacher(PointNet(seed=2)).embed([cloud()]))


def test_pointnet_equals_numpy_on_a_small_cloud():
    teacher, one = PointNetTeacher(PointNet()), cloud(100)
    x = np.concatenate([one.xyz, one.rgb / 255], axis=1)
    for i, (weight, bias) in enumerate(teacher.layers):
        x = x @ weight.double().numpy() + bias.double().numpy()
        x = np.maximum(x, 0) if i < 2 else x
    np.testing.assert_allclose(teacher.embed([one])[0].numpy(), x.max(0), **SUMS)


def test_pointnet_ignores_the_order_of_points_without_sampling():
    teacher, one = PointNetTeacher(PointNet()), cloud(512)
    shuffled = take(one, np.random.default_rng(1).permutation(512))
    torch.testing.assert_close(*teacher.embed([one, shuffled]), **SUMS)


@each
def test_an_empty_cloud_is_an_error_that_names_it(component):
    with pytest.raises(UserError) as caught:
        component.build(component.tiny).embed([cloud(5)] * 40 + [cloud(0)])
    assert str(caught.value) == (
        f"{component.name}: cloud 40 of 41: has no points; leave the frame out or enlarge the crop"
    )


@each
def test_a_non_finite_point_is_an_error_that_names_it(component):
    broken = cloud(9)
    broken.xyz[7, 1] = np.inf
    with pytest.raises(UserError, match=f"^{component.name}: cloud 1 of 2: point 7 is at .*inf"):
        component.build(component.tiny).embed([cloud(9), broken])


@each
def test_a_cloud_of_another_shape_is_refused(component):
    odd = PointCloud(xyz=np.zeros((4, 3), np.float32), rgb=np.zeros((5, 3), np.uint8))
    with pytest.raises(UserError, match=r"cloud 0 of 1: xyz has shape \(4, 3\) and rgb \(5, 3\)"):
        component.build(component.tiny).embed([odd])


@each
def test_to_preserves_the_embeddings(component):
    teacher = component.build(component.tiny)
    before = teacher.embed([cloud()])
    assert torch.equal(teacher.to(torch.device("cpu")).embed([cloud()]), before)


@pytest.mark.parametrize("build", [lambda: CloudStats(width=0.0), lambda: PointNet(points=0)])
def test_config_rejects_invalid_values(build):
    with pytest.raises(ValueError, match="must be"):
        build()
