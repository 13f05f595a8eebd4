"""Whether a launcher such as Slurm or MPI started several processes of one command."""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

# variables with the number of a process, from 0, and of all processes
_VARIABLES = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("RANK", "WORLD_SIZE"),
)


@attrs.frozen
class Launched:
    """One of several processes, and the variables that say which one."""

    rank: int  # from 0
    count: int
    rank_variable: str
    count_variable: str

    def __str__(self) -> str:
        return (
            f"this is process {self.rank + 1} of {self.count}"
            f" ({self.rank_variable}, {self.count_variable})"
        )

    @property
    def shard_option(self) -> str:
        """Return the option with which a shell gives each process its own shard."""
        return f"--shard $(({self.rank_variable}+1))/${self.count_variable}"


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return which of several processes this is; None if it is the only one."""
    for rank, count in _VARIABLES:
        numbers = [environment.get(name, "") for name in (rank, count)]
        if all(text.isascii() and text.isdecimal() for text in numbers) and int(numbers[1]) > 1:
            return Launched(int(numbers[0]), int(numbers[1]), rank, count)
    return None
