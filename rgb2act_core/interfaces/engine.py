"""What an engine implements: machines that compute the shards of a stage.

An engine starts jobs and starts them again where one was lost. It needs no state of its own: a
shard that is computed twice, or that another machine continues, gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs


class LostJobError(Exception):
    """A job's process was killed, so that the engine should start the job again."""


@attrs.frozen(kw_only=True)
class EngineOptions:
    """Where an engine finds its machines, and how many jobs it runs at the same time."""

    address: str = ""
    """Address of the cluster; empty for the engine's default."""
    workers: int = 0
    """Jobs that run at the same time; 0 lets the engine choose."""
    gpu: bool = False
    """Whether jobs may use a GPU."""


class Cluster(Protocol):
    """The machines to which an engine is connected."""

    @property
    def workers(self) -> int:
        """Return how many jobs run at the same time."""

    def probe(self, check: Callable[[], Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Call ``check`` once on each machine; return the problems that it found, by machine.

        An exception of the call is a problem of its machine.
        """

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Call each job on some machine, and return when all have ended.

        A job that raises ``LostJobError``, or whose machine vanished, is called again a few times.
        Any other exception stops the rest and is raised.
        """
