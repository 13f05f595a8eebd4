"""Point clouds of the simulator's observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rgb2act_robotwin import Robotwin
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
