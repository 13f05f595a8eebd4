"""Refuse plans that contain NaN or infinity.

Shapes: n = actions of a plan, A = all action dimensions
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .config import PolicyConfig


def check_finite(
    config: PolicyConfig, actions_nA: NDArray[np.float32], joints_A: NDArray[np.float32]
) -> None:
    """Raise UserError if a planned action is NaN or infinite.

    ``joints_A`` are the newest observed joints, the usual cause if they are far from any real pose.
    """
    wrong = np.argwhere(~np.isfinite(actions_nA))
    if not len(wrong):
        return
    step, joint = wrong[0]
    largest = int(np.abs(joints_A).argmax())
    raise UserError(
        f"plan: the action of {config.action_names[joint]} in step {step} is"
        f" {actions_nA[step, joint]}; check the observed joints ({config.action_names[largest]} is"
        f" {joints_A[largest]:.4g}), and the policy with rgb2act verify"
    )
