"""How long a server takes: percentiles of its newest encodings, plans and messages."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

KEPT = 10_000  # newest durations of each kind that percentiles are computed from
KINDS = ("encode", "plan", "wire", "answer")
PERCENTILES = (50, 90, 99)


class Latencies:
    """Durations of the parts of a server's work, from all of its threads.

    ``encode`` is the computation of the features of one client's new frames, ``plan`` the sampling
    of a batch of plans, ``wire`` the transfer of an observation or of a reply without waiting for
    the client, and ``answer`` the time from a request for actions to its reply.
    """

    def __init__(self) -> None:
        self._seconds = {kind: deque[float](maxlen=KEPT) for kind in KINDS}
        self._lock = threading.Lock()
        self.plans = 0  # requests for actions that were answered
        self.late_plans = 0  # of these, with the continuation of an earlier plan

    def add(self, kind: str, seconds: float) -> None:
        """Add one duration."""
        with self._lock:
            self._seconds[kind].append(seconds)

    @contextlib.contextmanager
    def measured(self, kind: str) -> Iterator[None]:
        """Add the duration of the block."""
        start = time.perf_counter()
        yield
        self.add(kind, time.perf_counter() - start)

    def answered(self, seconds: float, late: bool) -> None:
        """Count one request for actions."""
        self.add("answer", seconds)
        with self._lock:
            self.plans += 1
            self.late_plans += late

    def summary(self) -> dict[str, Any]:
        """Return plain data: counts, and percentiles in milliseconds by kind, 0 without values."""
        with self._lock:
            seconds = {kind: np.array(values) for kind, values in self._seconds.items()}
            counts = {"plans": self.plans, "late_plans": self.late_plans}
        return {**counts, "latency": {kind: _percentiles(s) for kind, s in seconds.items()}}


def _percentiles(seconds: np.ndarray[Any, Any]) -> dict[str, float]:
    values = 1000 * (seconds if len(seconds) else np.zeros(1))
    found = {f"p{p}": round(float(np.percentile(values, p)), 3) for p in PERCENTILES}
    return {"count": len(seconds), **found, "max": round(float(values.max()), 3)}
