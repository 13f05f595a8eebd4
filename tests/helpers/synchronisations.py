"""Count the calls that wait for an accelerator, on any device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

# calls that read a tensor's numbers; ``numpy`` is not one: it fails for a tensor on a device
WAITING = {"item", "tolist", "cpu", "nonzero", "unique", "masked_select", "equal", "is_nonzero"}
WAITING |= {"__bool__", "__float__", "__int__", "__index__"}


class Counting(TorchFunctionMode):
    """Counts calls that wait in ``found``, by name, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        self.found[name] += name in WAITING
        return func(*args, **(kwargs or {}))
