"""Read checkpoints: memory-mapped where the format allows, without running code from the file."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line, printable
from ..system.input_files import check_regular, open_regular, read_json_text
from .torch_archives import can_be_mapped

INDEX = ".index.json"  # suffix of the index of a sharded checkpoint
SHOWN = 8  # names listed in a message
LONGEST_SHOWN = 255  # characters of each
HEADER_LIMIT = 16 << 20  # bytes of the names of a safetensors file, some 100 for each tensor
LONGEST_NAME = 255  # characters of a file's name
_PATTERNS = (f"*.safetensors{INDEX}", f"*{INDEX}", "*.safetensors", "*.pth", "*.pt", "*.bin")
_REPLACE = "download it again or use another file"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint: tensors on the CPU, memory-mapped where possible.

    Accepts a .safetensors file, a file written by ``torch.save`` (pickled code is not run), the
    index of a sharded checkpoint, or a folder that contains one of them. Nested containers are
    returned unchanged. Raises UserError if the file cannot be read, is damaged, contains code, or
    is not a checkpoint.
    """
    try:
        return _read(path)
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        raise UserError(f"{path}: cannot be read ({reason}); set weights to another file") from err


def _read(path: Path) -> dict[str, Any]:
    path = in_folder(path) if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: does not exist; set weights to a checkpoint file")
    check_regular(path)
    if path.name.endswith(INDEX):
        return _read_shards(path)
    if _is_safetensors(path):
        return _read_safetensors(path)
    if path.suffix == ".safetensors":  # torch chooses the format by this suffix
        other = path.with_suffix(".pth").name
        raise UserError(f"{path}: has the format of torch.save; rename it to {other}")
    return _read_torch(path)


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is of this format by its content, or else by its name."""
    with open_regular(path) as stream:
        head = stream.read(9)
    header = int.from_bytes(head[:8], "little")
    by_content = head[8:] == b"{" and header + 8 <= path.stat().st_size
    return by_content or (path.suffix == ".safetensors" and head[:2] != b"PK")


def in_folder(folder: Path) -> Path:
    """Return the checkpoint, or the index of shards, in a folder.

    Hugging Face's standard names take precedence; otherwise exactly one file must match. Raises
    UserError if there is none.
    """
    for name in (f"model.safetensors{INDEX}", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    for pattern in _PATTERNS:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            names = shorten([path.name for path in found])
            raise UserError(f"{folder}: contains several checkpoints ({names}); choose one of them")
    raise UserError(f"{folder}: contains no checkpoint; set weights to a checkpoint file")


def shards(index: Path) -> list[str]:
    """Return the file names listed in the index of a sharded checkpoint.

    Raises UserError if the index is malformed or lists a file outside its folder.
    """
    try:
        names = sorted(set(read_json_text(index)["weight_map"].values()))
        plain = all(
            name == Path(name).name and name not in ("", "..") and len(name) <= LONGEST_NAME
            for name in names
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise UserError(f"{index}: is not an index of shards; download it again") from err
    if not plain:
        raise UserError(f"{index}: lists names of no files in its folder; download it again")
    return names


def _read_shards(index: Path) -> dict[str, Any]:
    names = shards(index)
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise UserError(
            f"{index}: {len(missing)} of {len(names)} shards are missing: {shorten(missing)};"
            " put them in the same folder"
        )
    tensors: dict[str, Any] = {}
    for name in names:  # a shard is never an index itself, so this ends
        if name.endswith(INDEX) or (index.parent / name).is_dir():
            raise UserError(f"{index}: lists {name!r}, which is not a shard; download it again")
        tensors |= read_checkpoint(index.parent / name)
    return tensors


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with open_regular(path) as stream:
        header = int.from_bytes(stream.read(8), "little")
    if HEADER_LIMIT < header < path.stat().st_size:
        raise _unreadable(path, ValueError(f"its header has {header:,} bytes"))
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, OverflowError) as err:
        raise _unreadable(path, err) from err


def _read_torch(path: Path) -> dict[str, Any]:
    import torch

    try:
        mapped = can_be_mapped(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # TorchScript archives warn and are then rejected
            content = torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=mapped,
            )
    except UserError:
        raise
    except Exception as err:  # a damaged pickle can raise any exception
        raise _unreadable(path, err) from err
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UserError(f"{path}: contains a {kind} instead of named tensors; {_REPLACE}")
    return content


def _harmless() -> list[Any]:
    """Return types that training scripts often save and that run no code when unpickled."""
    import argparse

    import numpy as np

    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = "?bBhHiIlLqQefdFD"
    return [
        argparse.Namespace,
        np.dtype,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        *{type(np.dtype(kind)) for kind in kinds},
    ]


def _unreadable(path: Path, err: Exception) -> UserError:
    """Return an error that explains why a file can't be read."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if re.match(rb"\s*<(!doctype|html|\?xml|head|body)", head, re.IGNORECASE):
        return UserError(
            f"{path}: is a web page, not weights; accept the licence on the model's page, log in"
            " and download the file again"
        )
    if head.startswith(b"version https://git-lfs"):
        return UserError(f"{path}: is a Git LFS pointer, not the file; run 'git lfs pull'")
    code = re.search(r"(?:GLOBAL|global|class|function) ([\w.]*\w\.\w+)", str(err))
    if isinstance(err, pickle.UnpicklingError) and code:
        return UserError(
            f"{path}: was not loaded because it would run {code[1]!r}, which no weights need;"
            " use the official file"
        )
    size = f"{path.stat().st_size:,} bytes"
    return UserError(f"{path}: is damaged or not a checkpoint ({size}: {_reason(err)}); {_REPLACE}")


def _reason(err: Exception) -> str:
    """Return what torch or safetensors found, without torch's advice on its own arguments."""
    found = re.search(r"WeightsUnpickler error: (.+)", str(err))
    if found:
        return found[1][:120].rstrip(".")
    if "Weights only load failed" in str(err):
        return "its pickle cannot be read"
    return first_line(err)


def shorten(names: list[str]) -> str:
    """Return the first few names, and how many more there are; each as ``readable``."""
    return first_of([readable(name) for name in names[:SHOWN]], len(names))


def first_of(texts: list[str], total: int) -> str:
    """Return the first few texts, and how many more of ``total`` there are."""
    more = f" and {total - SHOWN} more" if total > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def readable(name: str) -> str:
    """Return a name for messages: shortened, and with escapes in place of control characters."""
    shown = printable(name[: LONGEST_SHOWN + 1])
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
