"""Simulators for recording, which are started again after they were lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
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
        self._closed = False

    def ask(self, request: Callable[[Simulator], T], seed: int) -> T:
        """Return the result of a request that the seed determines, with retries.

        Raises UserError if the simulator is lost in every attempt.
        """
        for attempt in range(RETRIES + 1):
            try:
                if self._simulator is None:
                    self._simulator = Simulator(self.config, recording=True)
                    if self._closed:  # while it started
                        self.close()
                return request(self._simulator)
            except EnvironmentLost as err:
                self._simulator = None
                if attempt == RETRIES or self._closed:
                    raise UserError(
                        f"robotwin: seed {seed} failed after {RETRIES} retries: {err}"
                    ) from err
                say(f"robotwin: retrying seed {seed}: {str(err).partition(chr(10))[0]}")
        raise AssertionError

    def close(self) -> None:
        """End the simulator, also during a request."""
        self._closed = True
        if self._simulator is not None:
            self._simulator.close()


class RecorderPool:
    """Several recorders, each used by one thread at a time.

    Leaving the context ends the simulators, also while they answer requests.
    """

    def __init__(self, config: Robotwin, count: int) -> None:
        self._recorders = [Recorder(config) for _ in range(count)]
        self._idle: SimpleQueue[Recorder] = SimpleQueue()
        for recorder in self._recorders:
            self._idle.put(recorder)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> RecorderPool:
        return self

    def submit(self, request: Callable[[Simulator, int], T], seed: int) -> Future[T]:
        """Start a request that the seed determines, with retries."""
        return self._threads.submit(self._ask, request, seed)

    def _ask(self, request: Callable[[Simulator, int], T], seed: int) -> T:
        recorder = self._idle.get()
        try:
            return recorder.ask(lambda simulator: request(simulator, seed), seed)
        finally:
            self._idle.put(recorder)

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for recorder in self._recorders:
            recorder.close()
        self._threads.shutdown(wait=True)
