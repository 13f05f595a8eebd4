"""GradCache: gradients of a large batch at the memory of a small one (arXiv 2101.06983).

All parts of the batch are embedded without a graph. The loss of all embeddings together gives its
gradient with respect to each of them. Each part is then embedded again, with the same random
numbers, and its gradient is propagated. The parameters receive the gradients of the full batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .outputs import AlignedOutputs

Part = TypeVar("Part")
Metrics = Mapping[str, float | Tensor]


def gradcache_backward(
    parts: Sequence[Part],
    embed: Callable[[Part], AlignedOutputs],
    loss: Callable[[list[AlignedOutputs]], tuple[Tensor, Metrics]],
) -> tuple[Tensor, Metrics]:
    """Add a loss's gradients to the parameters; return the loss, detached, and its metrics.

    ``embed`` is called twice for each part and must return the same values both times. Draws from
    torch's global generators are replayed. ``loss`` may have parameters of its own.
    """
    states, leaves = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            leaves.append(embed(part).as_leaves())
    total, metrics = loss(leaves)
    total.backward()
    after = _random_state()
    for part, state, leaf in zip(parts, states, leaves, strict=True):
        _set_random_state(state)
        pairs = [
            (output, cached.grad)
            for output, cached in zip(embed(part).tensors(), leaf.tensors(), strict=True)
            if cached.grad is not None and output.requires_grad
        ]
        torch.autograd.backward([output for output, _ in pairs], [grad for _, grad in pairs])
    _set_random_state(after)
    return total.detach(), metrics


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
