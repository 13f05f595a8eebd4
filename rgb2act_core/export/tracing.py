"""Trace a policy with ``torch.export``."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UserError, first_line
from ..system.memory import is_out_of_memory
from .observations import Inputs

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from ..policy.policy_graph import PolicyGraph


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Return arrays as tensors."""
    import torch

    return {name: torch.from_numpy(value.copy()) for name, value in inputs.items()}


def trace(graph: PolicyGraph, inputs: Inputs) -> ExportedProgram:
    """Return the graph as a program for inputs of these shapes.

    Raises UserError that names the component that cannot be traced.
    """
    import torch

    values = tensors(inputs)
    with _traceable(), torch.no_grad():
        graph(**values)  # caches must not be filled with traced tensors
        try:
            return torch.export.export(graph, (), values, strict=False)
        except Exception as err:
            if is_out_of_memory(err):
                raise
            raise UserError(
                f"export: {_untraceable(graph, values)} cannot be traced by torch.export"
                f" ({first_line(err)}); its plugin must avoid Python control flow and numpy on"
                " values of tensors"
            ) from err


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    """Turn off the fused attention layers of torch, which are no operations of a program."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own internals
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _untraceable(graph: PolicyGraph, values: dict[str, Tensor]) -> str:
    """Return which component of a graph cannot be traced, in words."""
    import torch
    from torch import nn

    from ..features.encoder import Encoder

    class Part(nn.Module):
        def __init__(self, encoder: Any) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, rgb_FVHW3: Tensor) -> Tensor:
            return graph.tokens(self.encoder, rgb_FVHW3)

    if graph.policy.has_student:
        return "the student or the policy head"
    images = [value for name, value in values.items() if name.startswith("image_")]
    for encoder in graph.encoders:
        assert isinstance(encoder, Encoder)
        try:
            torch.export.export(Part(encoder), (torch.stack(images, 1),), strict=False)
        except Exception:
            return f"backbone {encoder.name!r}"
    return "the policy head or the fusion"
