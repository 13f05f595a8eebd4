"""Read the header of a safetensors file without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path

_MOST = 100_000_000  # bytes of a header, the limit of the format


def count_parameters(path: Path) -> int:
    """Return the number of floating-point numbers in a file.

    Raises OSError if it cannot be read, and ValueError, KeyError, TypeError or AttributeError if
    its header is damaged.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST:
            raise ValueError(f"{path}: header of {length} bytes")
        header = json.loads(file.read(length))
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    floats = [tensor for tensor in tensors if "F" in tensor["dtype"]]
    return sum(math.prod(tensor["shape"]) for tensor in floats)
