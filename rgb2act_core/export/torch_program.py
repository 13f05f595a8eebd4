"""Programs of ``torch.export`` in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .observations import Inputs
from .tracing import tensors

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PROGRAM = "policy.pt2"


def write_torch(program: ExportedProgram, path: Path) -> None:
    """Write a program."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own archive
        torch.export.save(program, path)


def open_torch(path: Path) -> Callable[[Inputs], NDArray[np.float32]]:
    """Return a function that runs a program that this process wrote.

    torch may unpickle parts of such a file, so a file of somebody else can execute code.
    """
    import torch

    module = torch.export.load(path).module()

    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.no_grad():
            plan_SA: NDArray[np.float32] = module(**tensors(inputs)).numpy()
        return plan_SA

    return run
