from __future__ import annotations

import numpy as np
import pytest

from rgb2act_core.interfaces import PointCloud
from rgb2act_core.pointclouds import LazyClouds


class Counted(LazyClouds):
    """Three clouds, whose single point is their index."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 3

    def load(self, index: int) -> PointCloud:
        self.loaded.append(index)
        return PointCloud(xyz=np.full((1, 3), index, np.float32), rgb=np.zeros((1, 3), np.uint8))


def test_clouds_are_loaded_on_access() -> None:
    clouds = Counted()
    assert clouds[-1].xyz[0, 0] == 2
    assert [cloud.xyz[0, 0] for cloud in clouds[1:]] == [1, 2]
    assert clouds.loaded == [2, 1, 2]
    assert len(list(clouds)) == 3
    with pytest.raises(IndexError):
        clouds[3]
