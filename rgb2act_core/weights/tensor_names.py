"""Named tensors of a checkpoint: without containers and prefixes of training frameworks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import UserError, first_line
from ..system.progress import say
from .checkpoint_files import shorten
from .state_dict import shown_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AVERAGED = ("state_dict_ema", "model_ema")
CONTAINERS = (
    *(*AVERAGED, "state_dict", "model"),  # in timm's order
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
    held = content if isinstance(content, dict) else dict(content)
    found = _search(held, tuple(marks), LEVELS, set())
    tensors = {name: _plain(tensor) for name, tensor in found.tensors.items()}
    if found.steps and found.identified:
        say(f"{source}: {found.described}")
    if found.keys:
        raise UserError(f"{source}: has the key {found.keys[0]}, expected a name; {_OFFICIAL}")
    for name, tensor in tensors.items():
        if fault := _fault(tensor):
            raise UserError(f"{source}: tensor {name!r:.80} {fault}; {_OFFICIAL}")
    _check_indices(tensors, source)
    return tensors


@attrs.frozen
class _Found:
    """Tensors of a checkpoint, and where they were."""

    tensors: dict[str, Tensor]
    keys: tuple[str, ...]  # other keys of tensors than names
    identified: bool  # whether a name begins with one of the marks
    steps: tuple[str, ...] = ()  # containers in brackets that were opened, and prefixes removed

    @property
    def described(self) -> str:
        """What was done to find the tensors."""
        containers = [step for step in self.steps if step.startswith("[")]
        prefixes = [step for step in self.steps if not step.startswith("[")]
        shown = f"reads {' '.join(containers) or 'the names'}"
        if any(container[1:-1] in AVERAGED for container in containers):
            shown += ", the averaged weights,"
        return f"{shown} without {' '.join(prefixes)}" if prefixes else shown.rstrip(",")


def _search(
    content: dict[Any, Any], marks: tuple[str, ...], levels: int, opened: set[int]
) -> _Found:
    """Return the first tensors that ``marks`` identify, or else the largest group.

    ``opened`` has the identities of containers that are not opened again.
    """
    found = _without_prefixes(content, marks, levels)
    if levels == 0 or found.identified:
        return found
    for name in CONTAINERS:
        inner = dict.get(content, name)
        if not isinstance(inner, dict) or id(inner) in opened:
            continue
        opened.add(id(inner))
        inside = _search(inner, marks, levels - 1, opened)
        inside = attrs.evolve(inside, steps=(f"[{name}]", *inside.steps))
        if inside.identified:
            return inside
        found = inside if len(inside.tensors) > len(found.tensors) else found
    return found


def _without_prefixes(content: dict[Any, Any], marks: tuple[str, ...], levels: int) -> _Found:
    """Return the tensors of one container, without the prefixes that all names have."""
    from torch import Tensor

    # methods of the classes, because a file can set attributes of its objects with these names
    held = [(key, value) for key, value in dict.items(content) if isinstance(value, Tensor)]
    tensors = {key: value for key, value in held if isinstance(key, str)}
    keys = tuple(f"{key!r:.40}" for key, _ in held if not isinstance(key, str))
    steps = list[str]()
    while len(steps) < levels and not _identified(tensors, marks):
        shared = (p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors))
        if not (prefix := next(shared, "")):
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        steps.append(prefix)
    return _Found(tensors, keys, _identified(tensors, marks), tuple(steps))


def _identified(tensors: Mapping[str, Any], marks: Sequence[str]) -> bool:
    return any(name.startswith(tuple(marks)) for name in tensors)


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor without attributes, which a file can name like methods."""
    from torch import Tensor

    return Tensor.detach(tensor)


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


def listed(content: dict[Any, Any]) -> str:
    """Return the first keys of a checkpoint and of its containers, for messages."""
    shown = shorten(list(map(str, content))) or "nothing"
    if inner := _container(content):
        shown += f"; {inner}: {shorten(list(map(str, content[inner])))}"
    return shown


def _container(content: dict[Any, Any]) -> str | None:
    return next((c for c in CONTAINERS if isinstance(dict.get(content, c), dict)), None)


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
        return f"has shape {shown_shape(tensor.shape)}, so it has no values"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has shape {shown_shape(tensor.shape)}, which is more than its stored values"
    return None


@functools.cache
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
