"""Checks for backbones.

Shapes: B = windows, K = context, V = cameras, H W = pixels, N = patches, C = channels
"""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from ..errors import UserError
from ..interfaces import Backbone, BackboneInfo
from ..plugins.components import Capability
from .capabilities import capabilities_are_as_declared
from .subject import Subject

SIZES = ((64, 64), (48, 96), (240, 320))  # height, width
CLOSE = 1e-3  # relative to the largest token; float32 summation order differs by less


def _sizes(subject: Subject) -> tuple[tuple[int, int], ...]:
    return SIZES if subject.image is None else (subject.image,)


def _frames(backbone: Backbone, size: tuple[int, int], batch: int = 2) -> Tensor:
    shape = (batch, backbone.info.context, 2, *size, 3)
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _tokens(subject: Subject, batch: int = 2) -> Tensor:
    backbone: Backbone = subject.built
    tokens: Tensor = backbone.encode(_frames(backbone, _sizes(subject)[0], batch))
    return tokens


def info_is_valid(subject: Subject) -> None:
    """``info`` is a BackboneInfo with a positive ``dim`` and ``context``."""
    info = subject.built.info
    assert isinstance(info, BackboneInfo), f"info is {info!r}; make it a BackboneInfo"
    assert info.dim >= 1, f"info.dim is {info.dim}"
    assert info.context >= 1, (
        f"info.context is {info.context}; it includes the newest frame, so it is at least 1"
    )


def tokens_have_the_shape_of_the_grid(subject: Subject) -> None:
    """``encode`` returns (B, V, rows * columns, dim) for each image size that ``grid`` accepts."""
    backbone: Backbone = subject.built
    accepted = 0
    for size in _sizes(subject):
        try:
            rows, columns = backbone.grid(*size)
        except UserError:
            continue  # a backbone may accept some sizes only
        accepted += 1
        tokens = backbone.encode(_frames(backbone, size, 1))
        expected = (1, 2, rows * columns, backbone.info.dim)
        assert tuple(tokens.shape) == expected, (
            f"images of {size[0]}x{size[1]} give {tuple(tokens.shape)}; grid and info require"
            f" (B, V, N, C) = {expected}"
        )
    assert accepted, (
        f"grid rejects all of {_sizes(subject)}"
        + "; let the tiny config accept one of them" * subject.is_tiny
    )


def tokens_are_finite_float32(subject: Subject) -> None:
    """Tokens are float32 without NaN or inf."""
    tokens = _tokens(subject)
    assert tokens.dtype is torch.float32, f"tokens are {tokens.dtype}; return float32"
    assert bool(tokens.isfinite().all()), "tokens contain NaN or inf"


def tokens_fit_float16(subject: Subject) -> None:
    """Tokens are within the range of float16, in which they are stored."""
    largest = float(_tokens(subject).abs().max())
    assert largest < 6e4, f"a value of {largest:.3g} overflows float16; scale or normalise tokens"


def tokens_depend_on_the_image(subject: Subject) -> None:
    """Two images give different tokens."""
    tokens = _tokens(subject)
    assert not torch.equal(tokens[0], tokens[1]), "two different images give the same tokens"


def input_is_not_modified(subject: Subject) -> None:
    """``encode`` does not modify its input."""
    frames = _frames(subject.built, _sizes(subject)[0])
    before = frames.clone()
    subject.built.encode(frames)
    assert torch.equal(frames, before), "encode modifies its input; work on a copy"


def batch_does_not_change_tokens(subject: Subject) -> None:
    """The tokens of an image do not depend on the other images in the batch."""
    backbone: Backbone = subject.built
    frames = _frames(backbone, _sizes(subject)[0], 3)
    together = backbone.encode(frames)
    single = torch.cat([backbone.encode(frames[i : i + 1]) for i in range(3)])
    error = float((together - single).abs().max() / together.abs().max().clamp(min=1e-9))
    assert error < CLOSE, (
        f"tokens differ by {error:.2g} between a batch and single images; call eval(), and use"
        " no batch statistics"
    )


def same_config_gives_same_tokens(subject: Subject) -> None:
    """Encoding twice and building twice give identical tokens."""
    first = _tokens(subject)
    assert torch.equal(first, _tokens(subject)), (
        "encoding twice gives different tokens; call eval()"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = subject.build()
    assert torch.equal(first, again.encode(_frames(again, _sizes(subject)[0]))), (
        "two builds of one config differ; draw random weights from a seed in the config"
    )


def tokens_are_frozen(subject: Subject) -> None:
    """Tokens have no gradient."""
    with torch.enable_grad():
        tokens = _tokens(subject)
    assert not tokens.requires_grad, "tokens require a gradient; decorate encode with no_grad"


def moves_to_a_device(subject: Subject) -> None:
    """``to`` returns the backbone."""
    moved = subject.built.to(torch.device("cpu"))
    assert hasattr(moved, "encode"), f"to(device) returns {moved!r}; return the backbone"


def two_steps_equal_encode(subject: Subject) -> None:
    """``encode_frames`` and ``encode_windows`` together equal ``encode``, if there are any.

    A config with a field ``context`` is also tested with a window of 3 frames.
    """
    if not subject.can(Capability.WINDOWED):
        return
    config, size = subject.config, _sizes(subject)[0]
    backbones: list[Any] = [subject.built]
    if "context" in attrs.fields_dict(type(config)):
        backbones.append(subject.component.build(attrs.evolve(config, context=3)))
    for backbone in backbones:
        rgb_BKVHW3 = _frames(backbone, size)
        expected = backbone.encode(rgb_BKVHW3)
        frames = [backbone.encode_frames(rgb_BVHW3) for rgb_BVHW3 in rgb_BKVHW3.unbind(1)]
        for name, part in frames[0].items():
            assert part.shape[:2] == (2, 2), (
                f"encode_frames returns {name!r} {tuple(part.shape)}; start with (B, V) = (2, 2)"
            )
        parts = {name: torch.stack([frame[name] for frame in frames], 1) for name in frames[0]}
        tokens = backbone.encode_windows(parts, size)
        assert tokens.shape == expected.shape, (
            f"encode_windows returns {tuple(tokens.shape)}, encode {tuple(expected.shape)}"
        )
        assert not tokens.requires_grad, "tokens require a gradient; decorate with no_grad"
        error = float((tokens - expected).abs().max() / expected.abs().max().clamp(min=1e-9))
        assert error < CLOSE, (
            f"encode_windows and encode differ by {error:.2g} with a context of"
            f" {backbone.info.context}; encode_frames must not depend on other frames"
        )


CHECKS = (
    capabilities_are_as_declared,
    info_is_valid,
    tokens_have_the_shape_of_the_grid,
    tokens_are_finite_float32,
    tokens_fit_float16,
    tokens_depend_on_the_image,
    input_is_not_modified,
    batch_does_not_change_tokens,
    same_config_gives_same_tokens,
    tokens_are_frozen,
    moves_to_a_device,
    two_steps_equal_encode,
)
