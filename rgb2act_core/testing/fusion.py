"""Checks for fusions.

Shapes: B = batch, N = patches, M = backbones, D = channels
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..interfaces import FusedTokens
from .capabilities import capabilities_are_as_declared
from .subject import Subject

BATCH, PATCHES, WIDTH = 4, 16, 8


def _module(subject: Subject, backbones: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = subject.built.module(backbones, WIDTH)
    assert isinstance(module, torch.nn.Module), f"module() returns {module!r}; not a torch module"
    return module


def _tokens(backbones: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(BATCH, PATCHES, backbones, WIDTH, generator=generator)


def _fuse(module: torch.nn.Module, tokens_BNMD: Tensor, seed: int = 9) -> FusedTokens:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fused = module(tokens_BNMD)
    assert isinstance(fused, FusedTokens), f"the module returns {fused!r}; return a FusedTokens"
    return fused


def fuses_any_number_of_backbones(subject: Subject) -> None:
    """One to four backbones give tokens (B, N, D), weights (M,) and a scalar loss."""
    for backbones in range(1, 5):
        fused = _fuse(_module(subject, backbones), _tokens(backbones))
        shapes = [tuple(t.shape) for t in (fused.tokens, fused.weights, fused.loss)]
        expected = [(BATCH, PATCHES, WIDTH), (backbones,), ()]
        assert shapes == expected, (
            f"{backbones} backbones give shapes {shapes} of tokens, weights, loss; not {expected}"
        )


def fused_tokens_are_finite_float32(subject: Subject) -> None:
    """Tokens and loss are float32 without NaN or inf."""
    fused = _fuse(_module(subject, 3), _tokens(3))
    for name in ("tokens", "loss"):
        value: Tensor = getattr(fused, name)
        assert value.dtype is torch.float32, f"{name} is {value.dtype}; return float32"
        assert bool(value.isfinite().all()), f"{name} contains NaN or inf"


def weights_sum_to_one(subject: Subject) -> None:
    """Weights are at least 0 and sum to 1, in training and in evaluation."""
    module = _module(subject, 3)
    for training in (True, False):
        weights = _fuse(module.train(training), _tokens(3)).weights.detach()
        total = float(weights.sum())
        assert bool((weights >= 0).all()), f"weights {weights.tolist()} are below 0"
        assert abs(total - 1) < 1e-4, f"weights {weights.tolist()} sum to {total:.4f}, not to 1"


def gradient_reaches_every_backbone(subject: Subject) -> None:
    """The gradient of the fused tokens reaches the tokens of each backbone."""
    tokens = _tokens(3).requires_grad_()
    fused = _fuse(_module(subject, 3).train(), tokens)
    (fused.tokens.square().sum() + fused.loss).backward()
    assert tokens.grad is not None, "the fused tokens do not depend on the backbones' tokens"
    reached = tokens.grad.abs().sum((0, 1, 3)) > 0
    assert bool(reached.all()), (
        f"gradients reach backbones {reached.tolist()}; they must reach all of them"
    )


def patches_are_fused(subject: Subject) -> None:
    """A fused token depends on the tokens of its own patch."""
    module, tokens = _module(subject, 3).eval(), _tokens(3)
    other = tokens.clone()
    other[:, 0] += 1.0
    with torch.no_grad():
        change = (_fuse(module, tokens).tokens - _fuse(module, other).tokens).abs().sum((0, 2))
    assert float(change[0]) > 0, "a change of a patch's tokens does not change its fused token"


def evaluation_is_deterministic(subject: Subject) -> None:
    """After ``eval()`` the result is deterministic and does not depend on the batch."""
    module, tokens = _module(subject, 3).eval(), _tokens(3)
    with torch.no_grad():
        first = _fuse(module, tokens, seed=1).tokens
        again = _fuse(module, tokens, seed=2).tokens
        single = _fuse(module, tokens[:1]).tokens
    assert torch.equal(first, again), (
        "fusing twice in eval() gives different tokens; draw noise in training only"
    )
    assert torch.allclose(first[:1], single, atol=1e-5), (
        "one image gives other tokens than in a batch"
    )


def state_dict_is_complete(subject: Subject) -> None:
    """A new module with the saved state gives the same tokens."""
    module, other = _module(subject, 3).eval(), subject.built.module(3, WIDTH).eval()
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        same = torch.equal(_fuse(module, _tokens(3)).tokens, _fuse(other, _tokens(3)).tokens)
    assert same, "a loaded module gives other tokens; keep all state in parameters and buffers"


CHECKS = (
    capabilities_are_as_declared,
    fuses_any_number_of_backbones,
    fused_tokens_are_finite_float32,
    weights_sum_to_one,
    gradient_reaches_every_backbone,
    patches_are_fused,
    evaluation_is_deterministic,
    state_dict_is_complete,
)
