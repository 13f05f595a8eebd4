"""Weights of pretrained models: where they come from, reading checkpoints, loading them strictly.

A plugin's config returns an ``OfficialWeights`` from its property ``official``. Its ``build`` then
calls ``locate_weights``, ``read_checkpoint`` and ``load_strict``. Importing this package does not
import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .checkpoint_files import read_checkpoint
    from .locate import locate_weights
    from .official import OfficialWeights
    from .state_dict import load_strict
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "OfficialWeights": "official",
            "load_strict": "state_dict",
            "locate_weights": "locate",
            "read_checkpoint": "checkpoint_files",
        },
    )

__all__ = ["OfficialWeights", "load_strict", "locate_weights", "read_checkpoint"]
