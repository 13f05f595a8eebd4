"""What an aligner is trained on.

Shapes: F = frames, D = width of the teacher's embedding
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Tensor

from ..features.fingerprint import Fingerprint
from ..features.frames import TokenFrames
from ..features.reader import EpisodeArrays
from ..training.sampler import Rows


@attrs.frozen(eq=False, kw_only=True)
class AlignerInputs:
    """The opened features of a data set, which every aligner needs."""

    labels: tuple[str, ...]  # of the backbones
    grids: tuple[tuple[int, int], ...]  # of the backbones' tokens
    fingerprints: Sequence[Fingerprint]  # of the backbones
    frames: TokenFrames  # tokens of all frames
    train_rows: Rows  # training frames, ascending


@attrs.frozen(eq=False, kw_only=True)
class AlignmentInputs(AlignerInputs):
    """The opened features and teacher embeddings, on which an aligner is trained."""

    teacher_FD: Tensor  # raw embeddings of all frames, on the device
    groups: EpisodeArrays | None = None  # the teacher's group tokens, if a loss needs them
