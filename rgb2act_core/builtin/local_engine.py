"""The engine ``local``: jobs are processes of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import attrs

from ..interfaces import EngineOptions, LostJobError
from ..system.hosts import host_name

ATTEMPTS = 4  # to run one job


@contextlib.contextmanager
def connect(options: EngineOptions) -> Iterator[LocalCluster]:
    """Yield this machine."""
    yield LocalCluster(max(options.workers, 1))


@attrs.frozen
class LocalCluster:
    """This machine, which runs ``workers`` jobs at the same time."""

    workers: int

    def probe(self, check: Callable[[], Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Check this machine."""
        return {host_name(): check()}

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run the jobs, each in a thread that waits for its process."""
        threads = ThreadPoolExecutor(self.workers)
        try:
            futures = [threads.submit(_attempt, job) for job in jobs]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _attempt(job: Callable[[], None]) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            return job()
        except LostJobError:
            if not left:
                raise
