"""Safetensors files with JSON metadata, written atomically and compared with checksums when read.

The metadata has a crc32c of each tensor, so a file is complete without any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import UserError
from ..system.input_files import check_memory, check_regular, parse_json
from .files import atomic_write, json_digest
from .safetensors_file import write_safetensors

_META, _CHECKSUMS = "rgb2act", "crc32c"


def first_unusable(tensors: Mapping[str, Tensor], module: nn.Module) -> str | None:
    """Return the name of the first tensor with NaN, or of a parameter with infinity, or None.

    Buffers of a module may be infinite, such as a mask that is added to the scores of attention.
    """
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        wrong = not bool(tensor.isfinite().all())
        if wrong and (name in parameters or bool(tensor.isnan().any())):
            return name
    return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """Write named tensors and JSON metadata atomically; return a digest of the tensors."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {name: _checksum(tensor) for name, tensor in plain.items()}
    texts = {_META: json.dumps(meta), _CHECKSUMS: json.dumps(checksums)}
    with atomic_write(path) as temporary:
        write_safetensors(temporary, plain, texts)
    return _digest(plain, checksums)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata written by ``write_tensors``.

    Raises UserError if the file is damaged, naming the tensor that was altered.
    """
    tensors, meta, _ = read_with_digest(path)
    return tensors, meta


def read_with_digest(
    path: Path, remedy: str = "delete it and run again"
) -> tuple[dict[str, Tensor], dict[str, Any], str | None]:
    """Return tensors, metadata and the digest that ``write_tensors`` returned.

    The digest is None for files without checksums, which older versions wrote.
    """
    try:
        check_memory(path, check_regular(path).st_size // 2)
        with safe_open(path, "pt") as file:
            stored = file.metadata() or {}
            meta, checksums = parse_json(stored[_META]), parse_json(stored.get(_CHECKSUMS, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as err:
        raise UserError(f"{path}: is damaged ({err}); {remedy}") from err
    if checksums is None:
        return tensors, meta, None
    for name, tensor in tensors.items():
        if not isinstance(checksums, dict) or checksums.get(name) != _checksum(tensor):
            raise UserError(f"{path}: tensor {name!r} was altered; {remedy}")
    return tensors, meta, _digest(tensors, checksums)


def _checksum(tensor: Tensor) -> int:
    crc: int = google_crc32c.value(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return crc


def _digest(tensors: Mapping[str, Tensor], checksums: Mapping[str, int]) -> str:
    """Return a digest of names, shapes, dtypes and values."""
    return json_digest(
        [
            [name, str(tensors[name].dtype), list(tensors[name].shape), checksums[name]]
            for name in sorted(tensors)
        ]
    )
