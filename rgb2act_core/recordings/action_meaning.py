"""What the actions of a data set are: commands, next states, present states or relative ones.

Shapes: R = recorded frames, A = action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOVES = 1e-3  # smallest motion of a joint that shows what an action is
NEARER = 4.0  # another meaning must fit this many times better


def describe_actions(pairs: Sequence[tuple[Floats, Floats]]) -> str:
    """Return in words what actions are, from joints and actions (R, A) of episodes."""
    usable = [(j.astype(np.float64), a.astype(np.float64)) for j, a in pairs if len(j) > 1]
    if not usable:
        return "unknown: no episode has two frames"
    after = np.concatenate([np.abs(a[:-1] - j[1:]) for j, a in usable])
    now = np.concatenate([np.abs(a[:-1] - j[:-1]) for j, a in usable])
    steps = np.concatenate([np.abs(np.diff(j, axis=0)) for j, _ in usable])
    largest = float(after.max())
    if steps.max() < MOVES:
        return "unknown: the joints do not move"
    if largest == 0:
        return "the state of the next frame, bit by bit"
    if now.max() == 0:
        return "the state of the same frame: nothing to learn; set actions = 'next_state'"
    text = f"at most {largest:.3g} from the state of the next frame"
    zero = np.concatenate([np.abs(a[:-1]) for _, a in usable])
    if np.median(zero.max(1)) * NEARER < np.median(after.max(1)):
        return f"probably relative to the state, {text}; if so, set actions = 'relative'"
    if largest < np.median(steps.max(1)) / NEARER:
        return f"the state of the next frame, up to {largest:.3g}"
    return f"commands, such as those of a leader arm: {text}, {np.median(after):.3g} in the median"
