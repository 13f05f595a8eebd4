"""Frames become the images that the official transform makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rgb2act_dinov3.preprocess import MEANS, STDS, prepare, target

DATA = Path(__file__).parent / "data"


def pixels(name):
    return torch.from_numpy(np.array(Image.open(DATA / name)))


def levels(images_F3hw, trained="lvd1689m"):
    """Return grey levels (F, h, w, 3) of normalised images."""
    mean, std = (torch.tensor(v[trained]).view(3, 1, 1) for v in (MEANS, STDS))
    return ((images_F3hw * std + mean) * 255).permute(0, 2, 3, 1)


def test_images_match_the_official_ones_within_one_grey_level():
    image = levels(prepare(pixels("image_240x320.png")[None], (256, 256), "lvd1689m"))[0]
    assert (image - pixels("resized_256x256.png").float()).abs().max() < 1.01


def test_another_resizing_is_detected():
    """The control: nearest pixels are another image."""
    frame = pixels("image_240x320.png").permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(frame, (256, 256))
    difference = (plain[0].permute(1, 2, 0) - pixels("resized_256x256.png").float()).abs()
    assert difference.max() > 10


def test_satellite_weights_have_their_own_mean_and_std():
    frame = pixels("resized_256x256.png")[None]
    web, satellite = (prepare(frame, (256, 256), name) for name in ("lvd1689m", "sat493m"))
    assert (web - satellite).abs().max() > 0.1
    # levels of 0..255 in float32, normalised and back: a few roundings of 255 times 6e-8
    torch.testing.assert_close(levels(satellite, "sat493m"), frame.float(), atol=1e-3, rtol=0)


def test_a_batch_equals_its_single_images():
    frames = torch.stack([pixels("image_240x320.png"), pixels("image_240x320.png").flip(0)])
    both = prepare(frames, (64, 96), "lvd1689m")
    assert torch.equal(both[1:], prepare(frames[1:], (64, 96), "lvd1689m"))


@pytest.mark.parametrize(
    ("image", "expected"), [((480, 640), (480, 640)), ((250, 7), (256, 16)), ((40, 24), (48, 32))]
)
def test_native_rounds_to_multiples_of_the_patch(image, expected):
    assert target(*image, "native", 256, 16) == expected
    frame = torch.zeros(1, *image, 3, dtype=torch.uint8)
    assert prepare(frame, expected, "lvd1689m").shape == (1, 3, *expected)
