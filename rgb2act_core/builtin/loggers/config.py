"""Options of the logger ``tensorboard``.

Start-up loads this module, so it does not import torch.
"""

from __future__ import annotations

import attrs
from attrs.validators import ge

from ...interfaces import fields


@attrs.frozen(kw_only=True)
class TensorBoard:
    """TensorBoard event files in the folder ``tensorboard`` of the run's folder."""

    images: bool = fields.runtime(default=True)
    """Write images of frames and features."""
    video_frames: int = fields.runtime(default=50, validator=ge(0))
    """Largest number of frames of a rollout's video, which becomes an animated GIF; 0 writes no
    videos."""
