"""The tables ``[collect]`` and ``[extract]``."""

from __future__ import annotations

import re
from typing import Any, Literal

import attrs
from attrs.validators import ge, le, optional

from ..interfaces import fields
from .validators import LARGEST_SEED, MOST, between

LARGEST_GRID = 10_000


@attrs.frozen(kw_only=True)
class Collect:
    """Demonstrations recorded by the environment's expert.

    If the environment comes with recorded episodes, only ``scenes`` is used, by environments that
    can set up scenes in addition, such as robotwin with ``python``.
    """

    episodes: int = attrs.field(default=50, validator=between(1, MOST))
    """Successful demonstrations to record."""
    scenes: int = attrs.field(default=0, validator=between(0, MOST))
    """Random frames without actions to record, with point clouds. Alignment trains on them in
    addition to the demonstrations."""
    action_noise_std: float = attrs.field(default=0.0, validator=[ge(0), le(1)])
    """Standard deviation of the noise that is added to the expert's executed actions, in radians.
    The stored action labels have no noise."""
    first_seed: int | None = attrs.field(default=None, validator=optional(between(0, LARGEST_SEED)))
    """Seed of the first demonstration; the following demonstrations use the next seeds. The
    default is 100,000, or 0 for environments that choose their own evaluation seeds. Scenes
    start at this seed + 400,000."""
    accept_findings: tuple[str, ...] = fields.runtime(default=())
    """Rules of the data checks, such as ``"degrees"``, whose findings are recorded as notes and do
    not stop a run."""

    @property
    def start(self) -> int:
        """Return the seed of the first demonstration."""
        return 100_000 if self.first_seed is None else self.first_seed


def _grid(_: Any, attribute: attrs.Attribute[Any], value: tuple[int, int] | None) -> None:
    if value is not None and not 1 <= min(value) <= max(value) <= LARGEST_GRID:
        raise ValueError(
            f"must be [rows, columns], each from 1 to {LARGEST_GRID}, got {list(value)}"
        )


@attrs.frozen(kw_only=True)
class Tokens:
    """Format of the stored backbone tokens. The policy uses the same format when it acts."""

    grid: tuple[int, int] | None = attrs.field(default=None, validator=_grid)
    """Rows and columns that each camera's token grid is reduced to by area averaging; at most
    those of the backbone's own grid. By default all tokens are stored."""
    dtype: Literal["float16", "int8"] = "float16"
    """``int8`` stores one scale per token and takes half the space."""


def _run(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*@(0|[1-9][0-9]{0,8})", value):
        raise ValueError(f"expected NAME@NUMBER, such as 'lift_pot@1', got {value!r}")


@attrs.frozen(kw_only=True)
class Extract:
    """Extraction and storage of backbone features."""

    tokens: Tokens = Tokens()
    """Resolution and precision of the stored tokens."""

    keep: Literal["tokens", "aligned"] = fields.added_later(default="tokens")
    """What is stored of each frame. ``tokens``: all tokens of each backbone, from which aligners
    are trained. ``aligned``: only what the policy observes of a trained and frozen aligner, usually
    some kB. Frames then go through backbones and aligner in one pass, and no aligner is trained."""

    aligner: str = fields.added_later(default="", validator=_run)
    """Run whose aligner is used with ``keep = "aligned"``, as NAME@NUMBER. It is in the same folder
    of runs, and had the same backbones, ``[align]`` table and token format, and the same teacher if
    the policy is trained on its embeddings."""

    compression: Literal["none", "zstd"] = "none"
    """``none`` can be memory-mapped and is fast to read; ``zstd`` is smaller and slower."""
    batch_size: int = fields.runtime(default=0, validator=between(0, MOST))
    """Frames that are encoded at once. 0 uses as many as fit in memory, at most 64, and on a CPU at
    most 128 MiB for each thread. The batch is halved whenever memory runs out."""

    def __attrs_post_init__(self) -> None:
        """Raise ValueError for keys that contradict each other."""
        if self.keep == "aligned" and not self.aligner:
            raise ValueError(
                "keep = 'aligned' needs an aligner that another run has trained; set aligner to"
                " that run, such as 'lift_pot@1'"
            )
        if self.keep == "tokens" and self.aligner:
            raise ValueError(
                f"aligner = {self.aligner!r} is used only with keep = 'aligned'; remove it or set"
                " keep"
            )

    @property
    def aligned(self) -> bool:
        """Return whether only what the policy observes of an aligner is stored."""
        return self.keep == "aligned"
