"""Safetensors files with JSON metadata, written atomically."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from .files import atomic_write


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write named tensors and JSON metadata atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        try:
            save_file(plain, temporary, {"rgb2act": json.dumps(meta)})
        except SafetensorError as err:
            if "space" in str(err).lower():  # the only trace of ENOSPC in its message
                raise OSError(errno.ENOSPC, str(err)) from err
            raise


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata written by ``write_tensors``; UserError if damaged."""
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["rgb2act"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as err:
        raise UserError(f"{path}: is damaged ({err}); delete it and run again") from err
