"""The grid cells whose tokens one training step uses."""

from __future__ import annotations

from ..features.token_grids import TokenSample
from ..spec import Align
from ..training.randomness import Purpose, step_generator
from .aligner import Aligner


def cells_of_step(aligner: Aligner, config: Align, seed: int, step: int) -> TokenSample | None:
    """Return ``align.tokens`` random cells of the aligner's grid, or None for all cells."""
    if not config.tokens:
        return None
    generator = step_generator(seed, step, Purpose.CELLS)
    return aligner.sample_cells(config.tokens, config.replacement, generator)
