"""The connection between training processes: what the first one asks the others to do.

The first process runs the stages. When it begins to train, it posts a job, and all others train
with it. Between jobs, they wait.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ..errors import UserError
from .place import Place
from .ranks import Ranks
from .shared_store import PrefixStore, TCPStore, connect
from .watch import Watch

Job = dict[str, Any]  # JSON: the store can be reached from the network, so nothing is unpickled

# the first process may evaluate for long between two steps; ``Watch`` notices that one ended
WORKING = timedelta(days=7)
POLL = 0.1  # seconds between two looks for a job


class Group:
    """All processes of a training run, seen from one of them."""

    def __init__(
        self,
        place: Place,
        server: TCPStore | None = None,
        ended: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.place = place
        self._server = server or connect(place)
        store = PrefixStore(f"rgb2act-{place.attempt}", self._server)
        self._store, self._posted = store, 0
        self.watch = Watch(
            PrefixStore(f"rgb2act-{place.attempt}", self._server.clone()), place, ended
        )

    def post(self, job: Job | None) -> None:
        """Let the other processes do a job; None ends them."""
        self._store.set(f"job/{self._posted}", json.dumps(job))
        self._posted += 1

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that the first process posts, until it ends."""
        while (job := self._next()) is not None:
            yield job

    def _next(self) -> Job | None:
        key = f"job/{self._posted}"
        while not self._store.check([key]):
            self.watch.check()
            time.sleep(POLL)
        self._posted += 1
        job: Job | None = json.loads(self._store.get(key))
        return job

    def ranks(self, device: str) -> Ranks:
        """Return this process's rank after all processes have met for tensors on ``device``."""
        place = self.place
        if not dist.is_initialized():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
                store=PrefixStore(f"tensors-{place.attempt}", self._server),
                rank=place.rank,
                world_size=place.size,
                timeout=WORKING,
            )
        return Ranks(place.rank, place.size, place.local_size, device)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Name the process that ended in place of an error of the connection to it.

        Another error ends all processes.
        """
        try:
            yield
        except UserError as err:
            self.watch.fail(str(err))
            raise
        except KeyboardInterrupt:
            self.watch.fail("interrupted")
            raise
        except Exception as err:
            if isinstance(err, RuntimeError) and is_lost_connection(err):
                self.watch.wait_for_failure()
            self.watch.fail(f"{type(err).__name__}: {err}")
            raise

    def close(self) -> None:
        """Leave the group."""
        self.watch.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def is_lost_connection(err: RuntimeError) -> bool:
    """Return whether an error of torch.distributed means that another process has ended."""
    words = ("connection", "closed by peer", "gloo", "nccl", "timed out", "broken pipe", "tcpstore")
    return isinstance(err, dist.DistError) or any(word in str(err).lower() for word in words)
