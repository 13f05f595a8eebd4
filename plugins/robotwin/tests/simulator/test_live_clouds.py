"""Point clouds of the simulator's observations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rgb2act_robotwin import Robotwin
from rgb2act_robotwin.evaluation.deploy_files.rgb2act_images import as_recorded
from rgb2act_robotwin.simulator.live_clouds import observed_cloud


class Observed:
    """An observation with a point cloud of two points."""

    def has(self, name: str) -> bool:
        return name == "clouds"

    def array(self, *_: Any) -> Any:
        return np.full((2, 6), 0.5, np.float32)


@pytest.mark.parametrize(("colours", "value"), [("recorded", 128), ("grey", 102)])
def test_colours_are_those_of_recorded_episodes(colours: Any, value: int) -> None:
    observation: Any = Observed()
    cloud = observed_cloud(observation, Robotwin(task="lift_pot", cloud_colours=colours))
    assert cloud is not None
    assert cloud.xyz.tolist() == [[0.5] * 3] * 2
    assert cloud.rgb.tolist() == [[value] * 3] * 2


class Depth:
    """An observation with depth of one metre and an image with a red edge."""

    def __init__(self, rgb: np.ndarray) -> None:
        self.parts = {
            "depth": np.ones(rgb.shape[:2], np.float32),
            "rgb": rgb,
            "intrinsics": np.diag([300.0, 300.0, 1.0]).astype(np.float32),
            "extrinsics": np.eye(3, 4, dtype=np.float32),
        }

    def has(self, name: str) -> bool:
        return name == "depth"

    def part(self, name: str) -> Any:
        return SimpleNamespace(array=lambda *_: self.parts[name])


def test_colours_from_depth_are_compressed_like_recorded_images() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[:, 161:] = (207, 17, 11)
    box = {"crop_low": (-9.0, -9.0, 0.0), "crop_high": (9.0, 9.0, 9.0), "cloud_points": 0}
    colours = {}
    for jpeg in ("none", "bgr"):
        config = Robotwin(task="lift_pot", clouds="depth", jpeg=jpeg, **box)
        observation: Any = Depth(rgb)
        cloud = observed_cloud(observation, config)
        assert cloud is not None
        colours[jpeg] = cloud.rgb.reshape(rgb.shape)
    np.testing.assert_array_equal(colours["none"], rgb)
    np.testing.assert_array_equal(colours["bgr"], as_recorded(rgb[None], "bgr")[0])
