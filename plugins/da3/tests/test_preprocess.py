from pathlib import Path

import numpy as np
import pytest
import torch
from rgb2act_da3 import preprocess
from rgb2act_da3.config import DA3
from torch.nn import functional

from rgb2act_core import UserError

RECORDED = np.load(Path(__file__).parent / "data" / "resized.npz")
each = pytest.mark.parametrize(
    ("image", "rule"),
    [("large", "upper_bound"), ("large", "lower_bound"), ("small", "upper_bound")],
)


def config(**fields):
    return DA3(weights="random", variant="tiny", **fields)


def levels(image, rule):
    grey_HW = torch.from_numpy(RECORDED[image])
    rgb_FHW3 = grey_HW[None, :, :, None].expand(-1, -1, -1, 3)
    return preprocess.resized(rgb_FHW3, config(resize=rule))[0, 1]


def off(image, rule):
    expected = torch.from_numpy(RECORDED[f"{image}_{rule}"]).float()
    return (levels(image, rule) - expected).abs()


@each
def test_resized_images_equal_upstream_within_one_grey_level(image, rule):
    assert off(image, rule).max() <= 1
    assert (off(image, rule) > 0).float().mean() < 1e-3


@each
def test_another_filter_is_detected(image, rule, monkeypatch):
    def bilinear(x_F3HW, size):
        return functional.interpolate(x_F3HW, size=size, mode="bilinear", antialias=True).round()

    monkeypatch.setattr(preprocess, "_area", bilinear)
    monkeypatch.setattr(preprocess, "_cubic", bilinear)
    assert off(image, rule).max() > 10


def test_colours_are_normalised_in_rgb_order():
    rgb = torch.tensor([200, 100, 50], dtype=torch.uint8).expand(1, 28, 28, 3)
    prepared = preprocess.prepare(rgb, config(resize="native"))
    expected = [
        (200 / 255 - 0.485) / 0.229,
        (100 / 255 - 0.456) / 0.224,
        (50 / 255 - 0.406) / 0.225,
    ]
    # a few float32 operations on values near 1; the default tolerance is 1e-5
    torch.testing.assert_close(prepared[0, :, 5, 9], torch.tensor(expected))


@pytest.mark.parametrize(
    ("height", "width", "rule", "expected"),
    [
        (480, 640, "upper_bound", (378, 504)),
        (480, 640, "lower_bound", (504, 672)),
        (480, 640, "native", (476, 644)),
        (504, 504, "upper_bound", (504, 504)),
        (640, 360, "upper_bound", (504, 280)),
        (21, 28, "native", (28, 28)),  # 21 is as near to 14 as to 28: up
    ],
)
def test_sides_become_multiples_of_the_patch(height, width, rule, expected):
    assert preprocess.target(height, width, config(resize=rule)) == expected
    rgb = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    assert preprocess.resized(rgb, config(resize=rule)).shape == (1, 3, *expected)


def test_a_batch_equals_its_single_images():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (3, 50, 70, 3), dtype=torch.uint8, generator=generator)
    together = preprocess.resized(rgb, config(size=56))
    alone = torch.cat([preprocess.resized(image[None], config(size=56)) for image in rgb])
    assert torch.equal(together, alone)


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(UserError, match="becomes 6x504, less than one patch"):
        preprocess.target(10, 840, config())
