"""Read checkpoints: memory-mapped where the format allows, and without running code of theirs."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ..errors import UserError

INDEX = ".index.json"  # how the name of a table of shards ends
SHOWN = 8  # names listed in a message
_PATTERNS = (f"*.safetensors{INDEX}", f"*{INDEX}", "*.safetensors", "*.pth", "*.pt", "*.bin")
_ANEW = "download it anew, or give another file"


def read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds: tensors on the CPU, memory-mapped where the format allows.

    Takes a .safetensors file, a file of ``torch.save`` (no code in it is run), an index of
    shards, or a folder with one of them. Containers within are returned as they are. A file that
    is damaged, hostile or no checkpoint raises UserError.
    """
    path = _in_folder(path) if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: does not exist; set weights to a checkpoint file")
    if path.name.endswith(INDEX):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _in_folder(folder: Path) -> Path:
    """Return the checkpoint, or index of shards, that a folder holds.

    Hugging Face's own names come first; otherwise there must be one alone.
    """
    for name in (f"model.safetensors{INDEX}", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    for pattern in _PATTERNS:
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found[:SHOWN])
            raise UserError(f"{folder}: holds several checkpoints ({names}); give one of them")
    raise UserError(f"{folder}: holds no checkpoint; set weights to the file")


def shards(index: Path) -> list[str]:
    """Return the names of the files that an index of shards lists."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        plain = all(name == Path(name).name and name not in ("", "..") for name in names)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise UserError(f"{index}: is no index of shards; download it anew") from err
    if not plain:
        raise UserError(f"{index}: names files outside its folder; download it anew")
    return names


def _read_shards(index: Path) -> dict[str, Any]:
    names = shards(index)
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise UserError(
            f"{index}: {len(missing)} of {len(names)} shards are missing: {some(missing)};"
            " put them beside it"
        )
    tensors: dict[str, Any] = {}
    for name in names:
        tensors |= read(index.parent / name)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        raise _unreadable(path, err) from err


def _read_torch(path: Path) -> dict[str, Any]:
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # a TorchScript archive warns, then is refused
            found = torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=zipfile.is_zipfile(path),  # files older than torch 1.6 can't be mapped
            )
    except Exception as err:  # damaged pickles raise whatever they like
        raise _unreadable(path, err) from err
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a {type(found).__name__}, not named tensors; {_ANEW}")
    return found


def _harmless() -> list[Any]:
    """Return what training scripts leave in checkpoints and runs no code when unpickled."""
    import argparse

    import numpy as np

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = (np.float64, np.float32, np.int64)
    return [
        argparse.Namespace,
        np.dtype,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        *(type(np.dtype(kind)) for kind in kinds),
    ]


def _unreadable(path: Path, err: Exception) -> UserError:
    """Return the error that says what ails a file."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        return UserError(f"{path}: is a Git LFS pointer, not the file; run 'git lfs pull'")
    code = re.search(r"(?:GLOBAL|global|class|function) ([\w.]*\w\.\w+)", str(err))
    own = "torch._utils."  # a name cut off by the end of the file, not an attack
    if isinstance(err, pickle.UnpicklingError) and code and not code[1].startswith(own):
        return UserError(
            f"{path}: wants to run {code[1]!r}, which no weights need, and was not loaded;"
            " give the official file"
        )
    size = f"{path.stat().st_size:,} bytes"
    return UserError(f"{path}: is damaged or no checkpoint ({size}: {first_line(err)}); {_ANEW}")


def some(names: list[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def first_line(err: Exception) -> str:
    """Return what an exception says, shortened."""
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:120].rstrip(".")
