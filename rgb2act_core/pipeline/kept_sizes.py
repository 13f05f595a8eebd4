"""How much the features of a run take as tokens, and as what the policy observes of an aligner."""

from __future__ import annotations

import attrs

from ..alignment.saving import read_config
from ..features.aligned import aligned_bytes
from ..features.token_codec import bytes_of
from ..features.token_grids import finest
from ..interfaces import EnvironmentInfo
from ..spec import Spec
from ..spec.requirements import align_of, stores_aligned
from ..stages.given_aligner import given_aligner
from ..stages.run import Run
from .component_checks import InputShapes


@attrs.frozen(kw_only=True)
class KeptSizes:
    """Bytes of the features of all frames, with each value of ``extract.keep``."""

    tokens: int
    aligned: int


def kept_sizes(
    run: Run, info: EnvironmentInfo, shapes: InputShapes, frames: int
) -> KeptSizes | None:
    """Return both sizes; None without a frozen aligner, or if a component was not built."""
    spec = run.spec
    if spec.policy.observes.aligner != "trained" or spec.act.replay or not shapes.complete:
        return None
    width = shapes.teacher_dim
    if stores_aligned(spec):  # its teacher may not be built
        width = read_config(given_aligner(run).path).teacher_dim
    rows, columns = finest(shapes.grids)
    aligned = aligned_bytes(
        width=width,
        cameras=len(info.cameras),
        token_dim=align_of(spec).token_dim,
        cells=rows * columns,
        with_tokens=spec.policy.observes.tokens,
    )
    return KeptSizes(tokens=frames * _token_bytes(spec, info, shapes), aligned=frames * aligned)


def _token_bytes(spec: Spec, info: EnvironmentInfo, shapes: InputShapes) -> int:
    """Return the bytes of one frame of all backbones: tokens, and float32 means per camera."""
    cameras = len(info.cameras)
    return sum(
        bytes_of(spec.extract.tokens, cameras, grid, dim) + 4 * cameras * dim
        for dim, grid in zip(shapes.channels, shapes.grids, strict=True)
    )
