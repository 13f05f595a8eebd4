"""One task in which a policy is evaluated."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import attrs

from ..spec import Act, Compute, EnvironmentChoice
from ..system.devices import workers_of
from .simulator_pool import SimulatorPool


@attrs.frozen(kw_only=True)
class EvaluationTask:
    """A task's environment and how to evaluate in it."""

    environment: EnvironmentChoice
    act: Act
    compute: Compute
    store: Path  # where the verdicts of screened seeds are stored
    name: str | None = None  # among the policy's tasks; None if it has one

    @property
    def workers(self) -> int:
        """Return the number of simulator processes."""
        return workers_of(self.compute.simulator_workers)

    def simulators(
        self, slots: int, frames: Collection[int], clouds: bool = False
    ) -> SimulatorPool:
        """Start simulators for ``slots`` episodes.

        Each returns the frames that are ``frames`` steps before the end of a chunk, with ``clouds``
        their point clouds too.
        """
        component, config = self.environment.component, self.environment.config
        return SimulatorPool(
            component.name,
            config,
            slots,
            frames,
            self.workers,
            clouds,
            max_steps=self.act.max_steps,
        )
