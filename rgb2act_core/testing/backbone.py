"""What a backbone must do.

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
CLOSE = 1e-3  # of the largest token; sums in another order differ by less


def _frames(backbone: Backbone, batch: int = 2, size: tuple[int, int] = SIZES[0]) -> Tensor:
    shape = (batch, backbone.info.context, 2, *size, 3)
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def _tokens(subject: Subject, batch: int = 2) -> Tensor:
    backbone: Backbone = subject.built
    tokens: Tensor = backbone.encode(_frames(backbone, batch))
    return tokens


def info_says_width_and_context(subject: Subject) -> None:
    """``info`` is a BackboneInfo with a positive width and context."""
    info = subject.built.info
    assert isinstance(info, BackboneInfo), f"info is {info!r}; make it a BackboneInfo"
    assert info.dim >= 1, f"info.dim is {info.dim}"
    assert info.context >= 1, f"info.context is {info.context}; count the newest frame too"


def tokens_have_the_shape_of_the_grid(subject: Subject) -> None:
    """``encode`` gives (B, V, rows * columns, dim) for every size that ``grid`` accepts."""
    backbone: Backbone = subject.built
    accepted = 0
    for size in SIZES:
        try:
            rows, columns = backbone.grid(*size)
        except UserError:
            continue  # a backbone may take some sizes only, and says so
        accepted += 1
        tokens = backbone.encode(_frames(backbone, 1, size))
        expected = (1, 2, rows * columns, backbone.info.dim)
        assert tuple(tokens.shape) == expected, (
            f"images {size[0]}x{size[1]} give tokens {tuple(tokens.shape)}, grid and info say"
            f" (B, V, N, C) = {expected}"
        )
    assert accepted, f"grid refuses all of {SIZES}; let the tiny config take one of them"


def tokens_are_finite_float32(subject: Subject) -> None:
    """Tokens are float32 and hold no NaN or inf."""
    tokens = _tokens(subject)
    assert tokens.dtype is torch.float32, f"tokens are {tokens.dtype}; return float32"
    assert bool(tokens.isfinite().all()), "tokens hold NaN or inf"


def tokens_fit_float16(subject: Subject) -> None:
    """Tokens are stored as float16, so they lie in its range."""
    largest = float(_tokens(subject).abs().max())
    assert largest < 6e4, f"a token of {largest:.3g} overflows float16; scale or normalise tokens"


def tokens_depend_on_the_image(subject: Subject) -> None:
    """Two images give different tokens."""
    tokens = _tokens(subject)
    assert not torch.equal(tokens[0], tokens[1]), "two different images give the same tokens"


def frames_are_left_alone(subject: Subject) -> None:
    """``encode`` does not write into its input."""
    frames = _frames(subject.built)
    before = frames.clone()
    subject.built.encode(frames)
    assert torch.equal(frames, before), "encode changes the frames it is given; work on a copy"


def batch_does_not_matter(subject: Subject) -> None:
    """An image's tokens do not depend on the others in its batch."""
    backbone: Backbone = subject.built
    frames = _frames(backbone, 3)
    together = backbone.encode(frames)
    alone = torch.cat([backbone.encode(frames[i : i + 1]) for i in range(3)])
    error = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-9))
    assert error < CLOSE, (
        f"tokens differ by {error:.2g} between a batch and single images; use eval(), and no"
        " statistics over the batch"
    )


def same_config_gives_same_tokens(subject: Subject) -> None:
    """Encoding twice, and building twice, gives the same bits."""
    first = _tokens(subject)
    assert torch.equal(first, _tokens(subject)), "encoding twice differs; use eval(), no dropout"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = subject.build()
    assert torch.equal(first, again.encode(_frames(again))), (
        "two builds of one config differ; draw random weights from a seed of the config"
    )


def tokens_are_frozen(subject: Subject) -> None:
    """No gradient is recorded."""
    with torch.enable_grad():
        tokens = _tokens(subject)
    assert not tokens.requires_grad, "tokens require a gradient; decorate encode with no_grad"


def moves_to_a_device(subject: Subject) -> None:
    """``to`` returns the backbone."""
    moved = subject.built.to(torch.device("cpu"))
    assert hasattr(moved, "encode"), f"to(device) returns {moved!r}; return the backbone"


def two_steps_give_what_encode_gives(subject: Subject) -> None:
    """``encode_frames``, a frame at a time, then ``encode_windows`` equal ``encode``, if offered.

    A config with a field ``context`` is tried with a window of 3 frames as well.
    """
    if not subject.can(Capability.WINDOWED):
        return
    tiny = subject.component.tiny
    backbones: list[Any] = [subject.built]
    if "context" in attrs.fields_dict(type(tiny)):
        backbones.append(subject.component.build(attrs.evolve(tiny, context=3)))
    for backbone in backbones:
        rgb_BKVHW3 = _frames(backbone)
        whole = backbone.encode(rgb_BKVHW3)
        seen = [backbone.encode_frames(rgb_BVHW3) for rgb_BVHW3 in rgb_BKVHW3.unbind(1)]
        for name, part in seen[0].items():
            assert part.shape[:2] == (2, 2), (
                f"encode_frames gives {name!r} {tuple(part.shape)}; begin with (B, V) = (2, 2)"
            )
        parts = {name: torch.stack([frame[name] for frame in seen], 1) for name in seen[0]}
        tokens = backbone.encode_windows(parts, SIZES[0])
        assert tokens.shape == whole.shape, (
            f"encode_windows gives {tuple(tokens.shape)}, encode {tuple(whole.shape)}"
        )
        assert not tokens.requires_grad, "tokens require a gradient; decorate with no_grad"
        error = float((tokens - whole).abs().max() / whole.abs().max().clamp(min=1e-9))
        assert error < CLOSE, (
            f"encode_windows and encode differ by {error:.2g} with a context of"
            f" {backbone.info.context}; a frame's parts hold nothing of other frames"
        )


CHECKS = (
    capabilities_are_as_declared,
    info_says_width_and_context,
    tokens_have_the_shape_of_the_grid,
    tokens_are_finite_float32,
    tokens_fit_float16,
    tokens_depend_on_the_image,
    frames_are_left_alone,
    batch_does_not_matter,
    same_config_gives_same_tokens,
    tokens_are_frozen,
    moves_to_a_device,
    two_steps_give_what_encode_gives,
)
