"""A simulator for recording, which is started again after it was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rgb2act_core import EnvironmentLost, UserError, say

from ..config import Robotwin
from .simulator import Simulator

T = TypeVar("T")
RETRIES = 3  # with a new simulator


class Recorder:
    """A simulator that starts on first use and restarts after it was lost.

    Observations have clouds unless ``config.clouds`` is ``none``; with ``depth``, they have depth
    images instead.
    """

    def __init__(self, config: Robotwin) -> None:
        self.config = config
        self._simulator: Simulator | None = None

    def ask(self, request: Callable[[Simulator], T], seed: int) -> T:
        """Return the result of a request that the seed determines, with retries.

        Raises UserError if the simulator is lost in every attempt.
        """
        for attempt in range(RETRIES + 1):
            try:
                if self._simulator is None:
                    self._simulator = Simulator(self.config, recording=True)
                return request(self._simulator)
            except EnvironmentLost as err:
                self._simulator = None
                if attempt == RETRIES:
                    raise UserError(
                        f"robotwin: seed {seed} failed after {RETRIES} retries: {err}"
                    ) from err
                say(f"robotwin: retrying seed {seed}: {str(err).partition(chr(10))[0]}")
        raise AssertionError

    def close(self) -> None:
        """End the simulator."""
        if self._simulator is not None:
            self._simulator.close()
