"""The policy head that plays recorded actions: a check of an environment, not a policy. Light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ...errors import UserError

if TYPE_CHECKING:
    import torch

    from ...interfaces import HeadShape


def _stride(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"must be at least 1, got {value!r}")


@attrs.frozen(kw_only=True)
class Replay:
    """Play the recorded actions of the episode of the same seed."""

    stride: int = attrs.field(default=1, validator=_stride)
    """Every so many-th of the recorded actions is played, and the last until the episode ends."""


class ReplayHead:
    """Stand where a head stands in a spec; ``replay`` plays, and nothing is learned."""

    def __init__(self, config: Replay) -> None:
        self.config = config

    def check(self, shape: HeadShape) -> str | None:
        """Return None: it has no shape."""
        return None

    def module(self, shape: HeadShape) -> torch.nn.Module:
        """Raise UserError: there is nothing to train."""
        raise UserError("policy.head: 'replay' learns nothing; rgb2act run or act SPEC plays it")
