"""Named tensors of a checkpoint: without containers and prefixes of training frameworks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, first_line
from ..system.progress import say
from .checkpoint_files import shorten

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONTAINERS = (
    *("state_dict_ema", "model_ema", "state_dict", "model"),  # in timm's order
    *("model_state_dict", "net", "module", "teacher", "encoder"),
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "teacher.", "vision_model.")
_OFFICIAL = "use the official file"
LEVELS = 6  # of containers and prefixes together
LARGEST_INDEX = 1000  # of a block in a name, unless there are more tensors
_UNFIT = (
    *(KeyError, IndexError, ValueError, TypeError, AttributeError),
    *(ZeroDivisionError, OverflowError, RuntimeError, AssertionError),
)


def named_tensors(
    content: Mapping[Any, Any], marks: Sequence[str], source: str | Path
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; entries that are not tensors are left out.

    ``marks`` are beginnings of names that identify the model. While no name begins with one,
    prefixes that every name has are removed, and containers such as ``state_dict`` are opened,
    first those of averaged weights; a line is printed. If no name ever begins with one, the
    largest group of tensors is returned. Raises UserError that names a key that is not a text, a
    tensor without values or data, and an index that is too large. ``source`` names the checkpoint
    in messages.
    """
    tensors, removed = _search(content, tuple(marks), source, LEVELS, set())
    if removed and _identified(tensors, marks):
        say(f"{source}: reads the names without {' '.join(removed)}, which all tensors have")
    _check_indices(tensors, source)
    return tensors


def _search(
    content: Mapping[Any, Any],
    marks: tuple[str, ...],
    source: str | Path,
    levels: int,
    opened: set[int],
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the first tensors that ``marks`` identify, or else the largest group.

    The prefixes and containers that their names are without come second. ``opened`` has the
    identities of containers that are not opened again.
    """
    tensors, removed = _tensors(content, source), list[str]()
    while len(removed) < levels and not _identified(tensors, marks):
        prefix = next(
            (p for p in PREFIXES if tensors and all(n.startswith(p) for n in tensors)), ""
        )
        if not prefix:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed.append(prefix)
    found = tensors, removed
    if levels == 0 or _identified(tensors, marks):
        return found
    for name in CONTAINERS:
        inner = content.get(name)
        if not isinstance(inner, Mapping) or id(inner) in opened:
            continue
        opened.add(id(inner))
        tensors, removed = _search(inner, marks, source, levels - 1, opened)
        inside = tensors, [f"[{name}]", *removed]
        if _identified(tensors, marks):
            return inside
        found = inside if len(tensors) > len(found[0]) else found
    return found


def _identified(tensors: Mapping[str, Any], marks: Sequence[str]) -> bool:
    return any(name.startswith(tuple(marks)) for name in tensors)


@contextlib.contextmanager
def fitting(source: str | Path) -> Iterator[None]:
    """Raise UserError in place of the errors of code that converts tensors of another model."""
    try:
        yield
    except _UNFIT as err:
        raise UserError(
            f"{source}: its tensors do not fit the network ({type(err).__name__}:"
            f" {first_line(err)}); use the official file"
        ) from err


def listed(content: Mapping[Any, Any]) -> str:
    """Return the first keys of a checkpoint and of its containers, for messages."""
    shown = shorten(list(map(str, content))) or "nothing"
    if inner := _container(content):
        shown += f"; {inner}: {shorten(list(map(str, content[inner])))}"
    return shown


def _container(content: Mapping[Any, Any]) -> str | None:
    return next((c for c in CONTAINERS if isinstance(content.get(c), Mapping)), None)


def _tensors(content: Mapping[Any, Any], source: str | Path) -> dict[str, Tensor]:
    from torch import Tensor

    found = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            continue
        if not isinstance(key, str):
            raise UserError(f"{source}: has the key {key!r:.40}, expected a name; {_OFFICIAL}")
        if fault := _fault(value):
            raise UserError(f"{source}: tensor {key!r:.80} {fault}; {_OFFICIAL}")
        found[key] = value
    return found


def _fault(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "is on the meta device, so it has no values"
    if str(tensor.layout) != "torch.strided" or tensor.is_quantized:
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        return f"is {kind}, expected a dense tensor"
    if tensor.is_nested:
        return "is nested, expected a dense tensor"
    if not _converts(tensor.dtype):
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"has values of the type {kind}, which PyTorch cannot convert"
    if not tensor.numel():
        return f"has shape {list(tensor.shape)}, so it has no values"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has shape {list(tensor.shape)}, which is more than its stored values"
    return None


def _converts(dtype: torch.dtype) -> bool:
    import torch

    try:
        torch.empty(1, dtype=dtype).to(torch.complex64)
    except RuntimeError:
        return False
    return True


def _check_indices(tensors: Mapping[str, Tensor], source: str | Path) -> None:
    limit = max(LARGEST_INDEX, len(tensors))
    for name in tensors:
        for part in name.split("."):
            if part.isdecimal() and (len(part) > 9 or int(part) > limit):
                raise UserError(
                    f"{source}: tensor {name!r:.80} has the index {part:.20}, but there are"
                    f" {len(tensors)} tensors; {_OFFICIAL}"
                )
