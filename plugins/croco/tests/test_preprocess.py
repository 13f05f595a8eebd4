"""Frames become the images that Pillow's bilinear filter makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rgb2act_croco.preprocess import MEAN, STD, prepare, target

DATA = Path(__file__).parent / "data"


def pixels(name):
    return torch.from_numpy(np.array(Image.open(DATA / name)))


def levels(images_F3hw):
    """Return grey levels (F, h, w, 3) of normalised images."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return ((images_F3hw * std + mean) * 255).permute(0, 2, 3, 1)


def test_squash_equals_pillow_within_one_grey_level():
    image = levels(prepare(pixels("image_240x320.png")[None], "squash", 224, 16))[0]
    difference = (image - pixels("resized_224x224.png").float()).abs()
    assert difference.max() < 1.01
    assert (difference > 0.5).float().mean() < 0.01


def test_resizing_without_antialiasing_is_detected():
    """The control: without antialiasing the image is another one."""
    frame = pixels("image_240x320.png").permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(frame, (224, 224), mode="bilinear")
    difference = (plain[0].permute(1, 2, 0) - pixels("resized_224x224.png").float()).abs()
    assert difference.max() > 10


def test_images_of_the_right_size_are_only_normalised():
    frame = pixels("resized_224x224.png")[None]
    # levels of 0..255 in float32, normalised and back: a few roundings of 255 times 6e-8
    for rule in ("squash", "crop", "native"):
        torch.testing.assert_close(
            levels(prepare(frame, rule, 224, 16)), frame.float(), atol=1e-3, rtol=0
        )


def test_crop_keeps_aspect_ratio_and_centre():
    frame = pixels("image_240x320.png")[None]
    image = levels(prepare(frame, "crop", 224, 16))
    scaled = Image.fromarray(frame[0].numpy()).resize((298, 224), Image.Resampling.BILINEAR)
    middle = torch.from_numpy(np.array(scaled))[:, 37 : 37 + 224].float()
    assert image.shape == (1, 224, 224, 3)
    assert (image[0] - middle).abs().max() < 1.01


def test_a_batch_equals_its_single_images():
    frames = torch.stack([pixels("image_240x320.png"), pixels("image_240x320.png").flip(0)])
    both = prepare(frames, "squash", 224, 16)
    assert torch.equal(both[1:], prepare(frames[1:], "squash", 224, 16))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((480, 640), (480, 640)),
        ((240, 320), (240, 320)),
        ((250, 7), (256, 16)),
        ((40, 24), (48, 32)),
    ],
)
def test_native_rounds_to_multiples_of_the_patch(image, expected):
    assert target(*image, "native", 224, 16) == expected
    frame = torch.zeros(1, *image, 3, dtype=torch.uint8)
    assert prepare(frame, "native", 224, 16).shape == (1, 3, *expected)
