"""Frames become the images that upstream makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rgb2act_vggt.config import Vggt
from rgb2act_vggt.preprocess import MEAN, STD, prepare, target

from rgb2act_core import UserError

DATA = Path(__file__).parent / "data"


def config(**options):
    return Vggt(weights="random", variant="tiny", **options)


def pixels(name):
    return torch.from_numpy(np.array(Image.open(DATA / name)))


def levels(images_F3hw):
    """Return grey levels (F, h, w, 3) of normalised images."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return ((images_F3hw * std + mean) * 255).permute(0, 2, 3, 1)


def test_images_match_the_official_ones():
    image = levels(prepare(pixels("image_240x320.png")[None], config(), 14))[0]
    assert (image - pixels("resized_392x518.png").float()).abs().max() < 0.01


def test_another_filter_is_detected():
    """The control: torch's bicubic without antialiasing has other weights (a = -0.75)."""
    frame = pixels("image_240x320.png").permute(2, 0, 1)[None].float()
    plain = torch.nn.functional.interpolate(frame, (392, 518), mode="bicubic")
    difference = (plain[0].permute(1, 2, 0) - pixels("resized_392x518.png").float()).abs()
    assert difference.max() > 5


@pytest.mark.parametrize("size", [(300, 200), (50, 101), (640, 480), (97, 500)])
def test_any_size_equals_pillow(size):
    """Sizes for which newer Pillows, too, scale along rows first, as all older ones do."""
    draw = np.random.default_rng(0)
    frame = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = target(*size, config(size=112, resize="native"), 14)
    scaled = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    made = prepare(torch.from_numpy(frame)[None], config(size=112, resize="native"), 14)
    assert (levels(made)[0] - torch.from_numpy(np.array(scaled)).float()).abs().max() < 0.01


def test_tall_images_are_cropped_at_the_centre():
    frame = torch.zeros(1, 300, 100, 3, dtype=torch.uint8)
    frame[:, 150:] = 200
    image = levels(prepare(frame, config(size=112), 14))[0]
    assert image.shape == (112, 112, 3)
    assert image[:50].max() < 1
    assert (image[62:] - 200).abs().max() < 1


def test_padding_is_white_and_on_both_sides():
    frame = torch.zeros(1, 100, 200, 3, dtype=torch.uint8)
    image = levels(prepare(frame, config(size=112, resize="pad"), 14))[0]
    assert image.shape == (112, 112, 3)
    rows = image.mean((1, 2))
    assert (rows[:28] > 254).all()
    assert (rows[28:84] < 1).all()
    assert (rows[84:] > 254).all()


def test_a_batch_equals_its_single_images():
    frames = torch.stack([pixels("image_240x320.png"), pixels("image_240x320.png").flip(0)])
    both = prepare(frames, config(size=112), 14)
    assert torch.equal(both[1:], prepare(frames[1:], config(size=112), 14))


def test_images_too_small_for_a_patch_are_refused():
    with pytest.raises(UserError, match="an image of 4x640 becomes 0x112, less than one patch"):
        target(4, 640, config(size=112), 14)
