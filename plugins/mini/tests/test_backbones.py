import numpy as np
import pytest
import torch
from rgb2act_mini import rgb2act_backbones
from rgb2act_mini.backbones import PatchStatsBackbone, RandConvBackbone
from rgb2act_mini.config import PatchStats, RandConv

from rgb2act_core import UserError

BACKBONES = list(rgb2act_backbones())
each = pytest.mark.parametrize("component", BACKBONES, ids=lambda c: c.name)


def images(b=3, k=1, v=2, h=16, w=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def reference(rgb_HW3, patch):
    """Compute patch statistics the slow, plain way in float64."""
    x = rgb_HW3.astype(float) / 255
    others = [np.max(np.delete(x, c, axis=2), axis=2) for c in range(3)]
    opponents = np.stack([np.maximum(0, x[..., c] - others[c]) for c in range(3)], axis=2)
    x = np.concatenate([x, opponents], axis=2)
    tokens = []
    for row in range(0, x.shape[0], patch):
        for column in range(0, x.shape[1], patch):
            pixels = x[row : row + patch, column : column + patch].reshape(-1, 6)
            tokens.append(np.concatenate([pixels.mean(0), pixels.std(0)]))
    return np.stack(tokens)


@each
def test_encode_gives_tokens_for_each_grid_cell(component):
    backbone = component.build(component.tiny)
    tokens = backbone.encode(images())
    rows, columns = backbone.grid(16, 24)
    assert (rows, columns) == (4, 6)
    assert tokens.shape == (3, 2, rows * columns, backbone.info.dim)
    assert tokens.dtype == torch.float32
    assert not tokens.requires_grad


@pytest.mark.parametrize("patch", [1, 4, 8])
def test_patchstats_equal_numpy(patch):
    rgb = images()
    tokens = PatchStatsBackbone(PatchStats(patch=patch)).encode(rgb)
    expected = reference(rgb[1, 0, 1].numpy(), patch)
    np.testing.assert_allclose(
        tokens[1, 1].numpy(), expected, atol=1e-5
    )  # float32 means of 64 values in 0..1


def test_patchstats_of_one_colour_have_no_variance():
    rgb = torch.tensor([201, 77, 13], dtype=torch.uint8).expand(1, 1, 1, 8, 8, 3)
    token = PatchStatsBackbone(PatchStats()).encode(rgb)[0, 0, 0]
    # float32: rounds 201 by 1e-5
    torch.testing.assert_close(
        token[:6] * 255, torch.tensor([201.0, 77, 13, 124, 0, 0]), rtol=1e-6, atol=1e-4
    )
    assert token[6:].abs().max() < 1e-6


def test_randconv_tokens_match_their_image_positions():
    rgb = torch.full((1, 1, 1, 64, 64, 3), 128, dtype=torch.uint8)
    changed = rgb.clone()
    changed[..., 32:36, 20:24, :] = 255  # the patch of row 8, column 5
    backbone = RandConvBackbone(RandConv())
    difference = (backbone.encode(changed) - backbone.encode(rgb)).square().sum(-1).view(16, 16)
    assert difference.argmax() == 8 * 16 + 5
    difference[7:10, 4:7] = 0
    assert difference.max() == 0


def test_randconv_depends_only_on_its_seed():
    rgb = images()
    first = RandConvBackbone(RandConv(seed=1)).encode(rgb)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, RandConvBackbone(RandConv(seed=1)).encode(rgb))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(first, RandConvBackbone(RandConv(seed=2)).encode(rgb))


def test_randconv_features_have_a_scale_suited_to_float16():
    tokens = RandConvBackbone(RandConv()).encode(images(h=64, w=64))
    assert 0.1 < tokens.std() < 10


@pytest.mark.parametrize("stride", [2, 8])
def test_randconv_stride_sets_the_grid(stride):
    backbone = RandConvBackbone(RandConv(dim=8, stride=stride))
    assert backbone.grid(16, 24) == (16 // stride, 24 // stride)
    assert backbone.encode(images()).shape[2] == 16 * 24 // stride**2


@each
def test_tokens_do_not_depend_on_the_batch(component):
    backbone, rgb = component.build(component.config()), images(b=40, h=64, w=64)
    together = backbone.encode(rgb)
    alone = torch.cat([backbone.encode(frame) for frame in rgb.split(1)])
    torch.testing.assert_close(
        together, alone, atol=1e-4, rtol=1e-4
    )  # float32 sums of some 100 terms near 1


@each
def test_only_the_newest_frame_is_used(component):
    backbone, rgb = component.build(component.tiny), images(k=3)
    assert torch.equal(backbone.encode(rgb), backbone.encode(rgb[:, 2:]))


@each
def test_an_image_size_that_is_no_multiple_of_the_patch_is_rejected(component):
    backbone = component.build(component.tiny)
    field = {"patchstats": "patch", "randconv": "stride"}[component.name]
    with pytest.raises(UserError) as caught:
        backbone.encode(images(h=30, w=24))
    assert str(caught.value) == (
        f"{component.name}: image is 30x24, not a multiple of {field} 4;"
        f" make images of 28x24 or set another {field}"
    )


@each
def test_to_preserves_the_tokens(component):
    backbone, rgb = component.build(component.tiny), images()
    before = backbone.encode(rgb)
    assert torch.equal(backbone.to(torch.device("cpu")).encode(rgb), before)


@pytest.mark.parametrize("build", [lambda: PatchStats(patch=0), lambda: RandConv(stride=5)])
def test_config_rejects_invalid_values(build):
    with pytest.raises(ValueError, match="must be"):
        build()
