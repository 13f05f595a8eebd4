"""What a spec says of demonstrations, and of the features that are stored of them."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from ..interfaces import fields
from .checks import at_least, optional, within


@attrs.frozen(kw_only=True)
class Collect:
    """Say what the environment's expert records; of no use where episodes are already on disk."""

    episodes: int = attrs.field(default=50, validator=at_least(1))
    """Successful demonstrations to record."""
    scenes: int = attrs.field(default=0, validator=at_least(0))
    """Random action-free frames with clouds, which alignment uses besides the demonstrations."""
    action_noise_std: float = attrs.field(default=0.0, validator=within(0, 1))
    """Standard deviation of the noise on executed actions, radians; stored labels stay clean."""
    first_seed: int | None = attrs.field(default=None, validator=optional(at_least(0)))
    """Seed of the first demonstration, 100,000 if left out, or 0 where the environment has seeds of
    its own to act on; scenes start 400,000 later."""

    @property
    def start(self) -> int:
        """Return the seed of the first demonstration."""
        return 100_000 if self.first_seed is None else self.first_seed


def _sides(_: Any, attribute: attrs.Attribute[Any], value: tuple[int, int] | None) -> None:
    if value is not None and min(value) < 1:
        raise ValueError(f"must be [rows, columns], each at least 1, got {list(value)}")


@attrs.frozen(kw_only=True)
class Tokens:
    """Say in what form tokens are kept; a policy acts on the same form."""

    grid: tuple[int, int] | None = attrs.field(default=None, validator=_sides)
    """Rows and columns that each camera's tokens are averaged to by area, at most as many as the
    backbone has; left out, all tokens are kept."""
    dtype: Literal["float16", "int8"] = "float16"
    """``int8`` has a scale a token and takes half the space."""


@attrs.frozen(kw_only=True)
class Extract:
    """Say how features are stored."""

    tokens: Tokens = Tokens()
    """Space against exactness of the backbones' tokens."""

    compression: Literal["none", "zstd"] = "none"
    """``none`` is memory-mapped and fast; ``zstd`` is an archive form, smaller and slower."""
    batch_size: int = fields.runtime(default=0, validator=at_least(0))
    """Frames encoded at once; 0 is as many as memory holds, up to 64. When memory runs out the
    number is halved."""
