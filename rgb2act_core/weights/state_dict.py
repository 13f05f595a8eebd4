"""Load tensors into a module, accepting no missing, unexpected or misshapen key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .checkpoint_files import first_of, readable, shorten

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def load_strict(
    module: torch.nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    source: str | Path,
    dtype: torch.dtype | None = None,
) -> None:
    """Assign the tensors to the module's parameters and buffers.

    The module may be on the meta device. Floating-point tensors are cast to ``dtype``; those that
    have it already are assigned without a copy. ``source`` names the checkpoint in messages.
    Raises UserError that lists all missing, unexpected and misshapen keys, or names a tensor with
    NaN or a parameter with infinity.
    """
    from ..store.tensors import first_unusable

    expected = module.state_dict()
    tensors = {**_uncounted(expected, tensors), **tensors}
    wrong = [
        f"{readable(key)} {_describe(tensors[key])} instead of {_describe(expected[key])}"
        for key in expected
        if key in tensors and _describe(tensors[key]) != _describe(expected[key])
    ]
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    problems = {
        f"{len(missing)} of {len(expected)} keys missing": shorten(missing),
        f"{len(unexpected)} keys unexpected": shorten(unexpected),
        f"{len(wrong)} keys of another shape or kind": first_of(wrong, len(wrong)),
    }
    if any(problems.values()):
        advice = "use a checkpoint of the model that the config names"
        raise UserError(
            *(
                f"{source}: {problem}: {keys}; {advice}"
                for problem, keys in problems.items()
                if keys
            )
        )
    cast = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
    }
    if (name := first_unusable(cast, module)) is not None:
        raise UserError(
            f"{source}: tensor {name!r} contains NaN or infinity; use the official file"
        )
    module.load_state_dict(cast, strict=True, assign=True)


def _describe(tensor: Any) -> str:
    """Return the shape and the kind of the values, which must match the module."""
    if not hasattr(tensor, "is_floating_point"):
        return type(tensor).__name__
    kind = " of complex numbers" if tensor.is_complex() else " of integers"
    return shown_shape(tensor.shape) + ("" if tensor.is_floating_point() else kind)


def shown_shape(shape: Sequence[int]) -> str:
    """Return a shape for messages; of a hostile file, it can have thousands of dimensions."""
    return str(list(shape)) if len(shape) < 10 else f"[{len(shape)} dimensions]"


def _uncounted(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return zeros for the counters of batch norms, which checkpoints before PyTorch 0.4.1 lack."""
    import torch

    return {
        name: torch.zeros((), dtype=torch.long)
        for name in expected
        if name.endswith(".num_batches_tracked")
        and f"{name.rpartition('.')[0]}.running_mean" in tensors
    }
