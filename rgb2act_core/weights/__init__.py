"""Find, download and load official weights. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from .checkpoint_files import read
    from .loading import load_strict, locate
    from .official import OfficialWeights
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "OfficialWeights": "official",
            "load_strict": "loading",
            "locate": "loading",
            "read": "checkpoint_files",
        },
    )

__all__ = ["OfficialWeights", "load_strict", "locate", "read"]
