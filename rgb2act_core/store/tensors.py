"""Named tensors with JSON metadata in safetensors files that appear whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from .files import guard


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata so that a reader sees the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with guard(path):
        try:
            save_file(plain, beside, {"rgb2act": json.dumps(meta)})
        except SafetensorError as err:
            beside.unlink(missing_ok=True)
            raise OSError(28, str(err)) if "space" in str(err).lower() else err from err
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``write_tensors`` wrote; raise UserError naming a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["rgb2act"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as err:
        raise UserError(f"{path}: damaged ({err}); delete it and run again") from err
