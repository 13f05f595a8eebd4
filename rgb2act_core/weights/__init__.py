"""Weights of pretrained models: where they come from, reading checkpoints, loading them strictly.

A plugin's config returns an ``OfficialWeights`` from its property ``official``. Its ``build`` then
calls ``locate_weights``, ``read_checkpoint``, ``named_tensors`` and ``load_strict``. Importing this
package does not
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
    from .tensor_names import fitting, listed, named_tensors
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "OfficialWeights": "official",
            "load_strict": "state_dict",
            "fitting": "tensor_names",
            "listed": "tensor_names",
            "locate_weights": "locate",
            "named_tensors": "tensor_names",
            "read_checkpoint": "checkpoint_files",
        },
    )

__all__ = [
    "OfficialWeights",
    "fitting",
    "listed",
    "load_strict",
    "locate_weights",
    "named_tensors",
    "read_checkpoint",
]
