"""Gradients of a loss over a large batch, at the memory of a small one (arXiv 2101.06983).

All parts of the batch are embedded without a graph; the loss of all embeddings together gives its
gradient for each of them; then each part is embedded again, with the same random numbers, and that
gradient is passed on. The parameters' gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Outputs = tuple[Tensor, ...]
Parts = Mapping[str, float | Tensor]


def gradcache_backward(
    parts: Sequence[Part],
    embed: Callable[[Part], Outputs],
    loss: Callable[[list[Outputs]], tuple[Tensor, Parts]],
) -> tuple[Tensor, Parts]:
    """Add a loss's gradients to the parameters and return the loss, without a graph, and its parts.

    ``embed`` draws from torch's global generator alone. ``loss`` may have parameters of its own.
    """
    states, outputs = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            outputs.append(embed(part))
    leaves = [tuple(t.detach().requires_grad_(True) for t in output) for output in outputs]
    total, shown = loss(leaves)
    total.backward()
    after = _random_state()
    for part, state, output in zip(parts, states, leaves, strict=True):
        _set_random_state(state)
        again = embed(part)
        pairs = [
            (new, old.grad)
            for new, old in zip(again, output, strict=True)
            if old.grad is not None and new.requires_grad
        ]
        torch.autograd.backward([new for new, _ in pairs], [grad for _, grad in pairs])
    _set_random_state(after)
    return total.detach(), shown


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
