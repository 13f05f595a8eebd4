"""Random numbers of a training step, each a pure function of the seed, the step and its purpose.

Because no draw depends on an earlier one, a resumed run draws what an uninterrupted run draws, and
the batch of any step is known before the step begins.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """Purpose of random numbers. The values are part of the seeds: never renumber them."""

    MODULES = 0  # dropout, routing noise, diffusion noise: torch's global generator
    ROWS = 1  # which rows are in the batch
    CELLS = 2  # which cells of the token grid are used
    AUGMENTATION = 3


def step_generator(seed: int, step: int, purpose: Purpose, part: int = 0) -> torch.Generator:
    """Return a CPU generator for one purpose in one training step.

    ``part`` numbers the parts of a batch that is embedded piece by piece.
    """
    return torch.Generator().manual_seed(_seed(seed, step, purpose, part))


def seed_modules(seed: int, step: int) -> None:
    """Seed torch's global generators, which modules draw from, at the beginning of a step."""
    value = _seed(seed, step, Purpose.MODULES, 0)
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():
        torch.manual_seed(value)
    else:  # torch.manual_seed takes 0.5 ms to note the seed for GPUs that are not in use
        torch.default_generator.manual_seed(value)


def _seed(*parts: int) -> int:
    """Return a 64-bit seed; torch's CPU generator reads 32 bits of it, so all are mixed well."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
