"""The backbone follows its config."""

import resource

import pytest
import timm
import torch
from rgb2act_timm.config import Timm
from rgb2act_timm.listing import describe
from rgb2act_timm.model import load
from torch.nn import functional

from rgb2act_core import UserError


def frames(b=2, k=1, v=2, h=64, w=96):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, k, v, h, w, 3), dtype=torch.uint8, generator=generator)


def backbone(model="test_efficientnet", **config):
    return load(Timm(model=model, weights="random", **config))


def test_tokens_do_not_depend_on_the_sizes_of_earlier_images():
    vit = backbone("test_vit")
    first = vit.encode(frames())
    vit.encode(frames(h=160, w=160))
    assert torch.equal(vit.encode(frames()), first)


def test_a_grid_is_found_without_resampling_embeddings():
    vit = backbone("vit_relpos_small_patch16_224", size=2048)  # its tables would take gigabytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert vit.grid(64, 96) == (128, 128)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert vit.sized.size is None


def test_a_grid_is_found_by_resampling_if_the_network_reads_values(monkeypatch):
    def reads(self, img_size):
        assert float(self.pos_embed.sum()) != 1e9
        resampled(self, img_size=img_size)

    vit = backbone("test_vit")
    resampled = type(vit.sized.original).set_input_size
    monkeypatch.setattr(type(vit.sized.original), "set_input_size", reads)
    assert vit.grid(64, 96) == (4, 6)
    assert vit.sized.size == (64, 96)


@pytest.mark.parametrize(
    ("config", "grid"),
    [
        ({}, (4, 6)),
        ({"layer": "stride8"}, (8, 12)),
        ({"layer": -1}, (2, 3)),
        ({"layer": 1}, (16, 24)),
        ({"layers": ("stride16", "stride8")}, (8, 12)),
        ({"scale": 2.0}, (8, 12)),
        ({"size": 160}, (10, 10)),
    ],
)
def test_the_grid_follows_layer_scale_and_size(config, grid):
    built = backbone(**config)
    assert built.grid(64, 96) == grid
    tokens = built.encode(frames())
    assert tokens.shape == (2, 2, grid[0] * grid[1], built.info.dim)


def test_several_layers_are_the_single_ones_side_by_side():
    rgb = frames(h=32, w=32)
    both = backbone(layers=("stride16", "stride8")).encode(rgb)
    fine = backbone(layer="stride8").encode(rgb)
    coarse = backbone(layer="stride16").encode(rgb)
    coarse_FChw = coarse.flatten(0, 1).transpose(1, 2).unflatten(2, (2, 2))
    resampled_FChw = functional.interpolate(coarse_FChw, (4, 4), mode="bilinear")
    channels = fine.shape[-1]
    assert torch.equal(both[..., :channels], fine)
    assert torch.equal(both[..., channels:].flatten(0, 1), resampled_FChw.flatten(2).mT)


def test_native_sizes_are_rounded_to_the_stride():
    assert backbone().grid(70, 100) == (4, 6)
    assert backbone().grid(73, 105) == (5, 7)
    assert backbone("test_vit").grid(1, 1) == (1, 1)


@pytest.mark.parametrize(
    ("model", "layer", "size", "grid"),
    [
        ("hrnet_w18_small", None, (240, 320), (16, 20)),  # its branches need a multiple of 32
        ("hrnet_w18_small", "stride4", (64, 96), (16, 24)),
        ("test_efficientnet", None, (240, 320), (15, 20)),
    ],
)
def test_sides_are_multiples_of_the_coarsest_stride_only_where_needed(model, layer, size, grid):
    model = backbone(model, layer=layer)
    assert model.grid(*size) == grid
    tokens = model.encode(frames(b=1, v=1, h=size[0], w=size[1]))
    assert tokens.shape[2] == grid[0] * grid[1]


def test_a_crop_keeps_the_same_fraction_of_both_sides():
    rgb = frames(b=1, v=1, h=160, w=320)
    cropped = backbone(crop=True)  # 0.95: 4 pixels above and below, 8 at the left and right
    outside, inside = rgb.clone(), rgb.clone()
    outside[..., :4, :, :] = outside[..., :8, :] = 0
    inside[..., 8:12, :] = 0
    assert torch.equal(cropped.encode(rgb), cropped.encode(outside))
    assert not torch.equal(cropped.encode(rgb), cropped.encode(inside))


def test_a_crop_leaves_the_border_out():
    rgb = frames(b=1, v=1, h=160, w=160)
    changed = rgb.clone()
    changed[..., :8, :, :] = 0  # test_efficientnet crops to 0.95: 4 pixels at each side
    whole = backbone(size=160)
    assert not torch.equal(whole.encode(rgb), whole.encode(changed))
    changed = rgb.clone()
    changed[..., :4, :, :] = 0
    cropped = backbone(size=160, crop=True)
    assert torch.equal(cropped.encode(rgb), cropped.encode(changed))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_returns_float32_tokens(precision):
    exact = backbone("test_vit").encode(frames())
    tokens = backbone("test_vit", precision=precision).encode(frames())
    assert tokens.dtype is torch.float32
    assert 0 < (tokens - exact).abs().max() / exact.abs().max() < 0.1  # 8 bits in six blocks


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": "vit_base_patch14_dinov3"}, r"no model 'vit_base_patch14_dinov3'; did you mean"),
        ({"model": "VIT_TINY"}, r"no model 'VIT_TINY'; did you mean 'vit_tiny_"),
        ({"model": "dinov2"}, r"no model 'dinov2'; did you mean '.*dinov2'"),
        ({"model": "a" * 5000}, r"^timm: there is no model 'a{80}\.\.\.'; rgb2act backbones"),
        ({"model": "resnet18.a9_in1k"}, r"no model 'resnet18.a9_in1k'; did you mean 'resnet18.a"),
        ({"layer": 9}, r"layer 9 does not exist; 'test_efficientnet' has layers 0 to 4"),
        ({"layer": "stride64"}, r"no layer 'stride64'; it has 'stride2', 'stride4'"),
        ({"layers": ("stride8", 2)}, r"name a layer of 'test_efficientnet' twice"),
        ({"size": 40}, r"size 40 is not a multiple of the stride, 16; set size = 48"),
        ({"size": 100}, r"size 100 is not a multiple of the stride, 16; set size = 96"),
    ],
)
def test_a_wrong_config_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        backbone(**config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer": "0"}, "'stride16', got '0'"),
        ({"layer": "deep"}, "'stride16', got 'deep'"),
        ({"layer": "stride²"}, "'stride16', got 'stride²'"),
        ({"layer": "stride" + "9" * 5000}, "'stride16', got 'stride9"),
        ({"layer": 1, "layers": (2,)}, "layer and layers are both set"),
        ({"size": 64, "scale": 2.0}, "size and scale are both set"),
        ({"scale": 100.0}, "scale"),
    ],
)
def test_a_contradictory_config_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        Timm(weights="random", **config)


def test_a_model_without_token_maps_is_refused(monkeypatch):
    monkeypatch.delattr(timm.models.resnet.ResNet, "forward_intermediates")
    with pytest.raises(UserError, match="'test_resnet' has no token map in timm, only a class"):
        backbone("test_resnet")


def test_memory_that_runs_out_is_not_taken_for_a_wrong_size(monkeypatch):
    resnet = backbone("test_resnet")
    resnet.grid(64, 96)

    def full(*args, **options):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(resnet.sized.net, "forward_intermediates", full)
    with pytest.raises(RuntimeError, match="not enough memory"):  # a smaller batch is tried then
        resnet.encode(frames())


def test_a_model_of_one_size_names_that_size():
    mixer = backbone("mixer_s32_224")
    assert mixer.grid(224, 224) == (7, 7)
    with pytest.raises(UserError, match=r"images of 224x224, does not take images of 64x64"):
        mixer.grid(64, 64)


@pytest.mark.parametrize(
    ("config", "grid"),
    [
        ({"model": "levit_128s", "layer": "stride64", "size": 224}, (4, 4)),
        ({"model": "efficientvit_m0", "size": 224}, (14, 14)),
        ({"model": "tresnet_m", "layer": "stride2", "size": 64}, (16, 16)),
        ({"model": "pit_ti_224", "layer": 0, "size": 224}, (27, 27)),
        ({"model": "crossvit_tiny_240", "size": 68}, (14, 14)),
        ({"model": "crossvit_tiny_240", "size": 323}, (14, 14)),
    ],
)
def test_the_grid_is_that_of_the_map(config, grid):
    model = backbone(**config)
    assert model.grid(64, 96) == grid
    assert model.encode(frames()).shape[2:] == (grid[0] * grid[1], model.info.dim)


@pytest.mark.parametrize(
    ("stride", "size", "message"),
    [
        (8, (64, 96), "layer 2: .* 64x96 has 5x9 positions, .* gives 8x12"),
        (16, (64, 64), "has 2x2 positions, .* gives 4x4"),
        (32, (96, 128), "has 1x2 positions, .* gives 3x4"),
    ],
)
def test_a_map_that_leaves_out_the_borders_is_refused(stride, size, message):
    model = backbone("inception_v3", layer=f"stride{stride}")
    with pytest.raises(UserError, match=message):
        model.grid(*size)
    assert model.grid(299, 299)


def test_a_size_that_is_refused_leaves_the_network_as_it_was(monkeypatch):
    vit = backbone("test_vit")
    tokens = vit.encode(frames())
    monkeypatch.setattr(type(vit.sized.original), "set_input_size", lambda net, **_: 1 / 0)
    with pytest.raises(UserError, match="does not take images of 32x32"):
        vit.grid(32, 32)
    assert torch.equal(vit.encode(frames()), tokens)


def test_channels_are_those_of_the_map():
    row = describe("samvit_base_patch16", 64, 96)  # timm states 768
    assert (row["channels"], row["tokens"]) == (256, [4, 6])
