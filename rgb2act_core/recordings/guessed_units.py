"""Keys of an ``[environment]`` table for joints that are no radians.

Shapes: R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.action_layout import is_gripper

TURN, HUNDRED = 6.4, 110.0  # radians; percent with some overshoot


def unit_keys(joints: Sequence[NDArray[np.float32]], names: Sequence[str]) -> dict[str, Any]:
    """Return ``units`` and ``gripper_range`` if joints (R, A) of episodes seem to need them."""
    if not joints:
        return {}
    joints_RA = np.abs(np.concatenate(joints))
    grippers = np.array([is_gripper(name) for name in names])
    keys: dict[str, Any] = {}
    arms_RA, grippers_RA = joints_RA[:, ~grippers], joints_RA[:, grippers]
    if arms_RA.size and ((arms_RA > TURN).mean(axis=0) >= 0.1).any():
        keys["units"] = "percent" if arms_RA.max() <= HUNDRED else "degrees"
    largest = float(grippers_RA.max(initial=0))
    if largest > 1.5:
        keys["gripper_range"] = [0.0, 100.0 if largest <= HUNDRED else largest]
    return keys
