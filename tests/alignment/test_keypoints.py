"""Keypoints of an aligner, for reports and viewers."""

from __future__ import annotations

import torch
from small_aligner import CONFIG, build, build_nonzero, tokens

from rgb2act_core.alignment.keypoints import keypoints_of


def test_keypoints_are_positions_of_every_map_of_every_camera() -> None:
    found = keypoints_of(build_nonzero(), tokens(3))
    assert found is not None
    assert found.shape == (3, CONFIG.cameras, CONFIG.keypoint_maps, 2)
    assert found.abs().max() <= 1
    assert not torch.equal(found[0], found[1])  # they depend on the frame


def test_a_pool_without_maps_has_no_keypoints() -> None:
    assert keypoints_of(build(pool="mean"), tokens(1)) is None
