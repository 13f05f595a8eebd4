"""Keypoints drawn on frames."""

from __future__ import annotations

import numpy as np

from rgb2act_core.reporting.keypoints import draw_keypoints, keypoint_colours


def test_a_keypoint_is_drawn_at_its_row_and_column():
    image = np.zeros((60, 120, 3), np.uint8)
    drawn = draw_keypoints(image, np.array([[-0.5, 0.5]]))  # a quarter down, three quarters right
    assert drawn.shape == (120, 240, 3)
    rows, columns = np.nonzero(drawn.any(-1))
    assert (rows.mean(), columns.mean()) == (30, 180)


def test_every_keypoint_has_its_own_colour():
    assert len(set(keypoint_colours(16))) == 16
