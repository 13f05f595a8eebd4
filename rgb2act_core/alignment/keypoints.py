"""Where an aligner looks: the keypoints of its pool, for reports and viewers.

Shapes: B = frames, V = cameras, N = tokens, C = channels, J = maps per camera
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .aligner import Aligner
from .pooling import KeypointPool


def keypoints_of(aligner: Aligner, tokens_BVNC: Sequence[Tensor]) -> Tensor | None:
    """Return the keypoints (B, V, J, 2) of frames, rows and columns from -1 to 1.

    ``tokens_BVNC`` has one tensor per backbone of the aligner. None if its pool has no keypoints.
    """
    pool = aligner.pool
    if not isinstance(pool, KeypointPool):
        return None
    outputs: list[Tensor] = []

    def keep(_: Any, __: Any, output: Tensor) -> None:
        outputs.append(output)

    handle = pool.register_forward_hook(keep)
    try:
        with torch.inference_mode():
            aligner(tokens_BVNC)
    finally:
        handle.remove()
    cameras, maps = aligner.config.cameras, pool.maps
    return outputs[0].reshape(len(outputs[0]), cameras, maps, -1)[..., :2].float().cpu()
