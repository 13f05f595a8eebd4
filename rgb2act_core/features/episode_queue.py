"""Episodes that wait to be encoded, shared by the devices of a process and by other processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..data.dataset import EpisodeRef
from ..store import locks
from ..store.claims import Claims
from ..system.formatting import counted
from ..system.progress import say


class EpisodeQueue:
    """Hands each episode to one device of one process: the one that claims it.

    ``skipped`` is called with an episode whose entry another process made.
    """

    def __init__(
        self, title: str, folder: Path, episodes: Sequence[EpisodeRef], claims: Claims
    ) -> None:
        self.skipped: Callable[[EpisodeRef], None] = lambda ref: None
        self._title, self._folder, self._claims = title, folder, claims
        self._waiting = deque(episodes)
        self._others: list[EpisodeRef] = []  # claimed by other processes
        self._announced = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[EpisodeRef]:
        """Yield the episodes that this process did not take."""
        return iter([*self._others, *self._waiting])

    def take(self) -> EpisodeRef | None:
        """Claim the next episode that has no entry; None once no other can be claimed now."""
        with self._lock:
            while self._waiting:
                ref = self._waiting.popleft()
                if self._exists(ref):
                    self.skipped(ref)
                elif not self._claims.take(ref.digest):
                    self._others.append(ref)
                elif self._exists(ref):  # another process finished it in between
                    self._claims.release(ref.digest)
                    self.skipped(ref)
                else:
                    return ref
        return None

    def finish(self, ref: EpisodeRef) -> None:
        """Release an episode whose entry is stored."""
        self._claims.release(ref.digest)

    def wait_for_others(self) -> bool:
        """Wait a moment if other processes claimed episodes, and return whether they did.

        These episodes are next then, as their entries may exist by now, or their process ended.
        """
        if not self._others:
            return False
        if not self._announced:
            self._announced = True
            holders = {holder for ref in self._others if (holder := self._holder(ref))}
            by = f" ({', '.join(sorted(holders))})" if holders else ""
            episodes = counted(len(self._others), "episode")
            say(f"{self._title}: waiting for {episodes} that other processes encode{by}")
        time.sleep(locks.POLL)
        self._waiting.extend(self._others)
        self._others.clear()
        return True

    def _exists(self, ref: EpisodeRef) -> bool:
        return (self._folder / ref.digest).exists()

    def _holder(self, ref: EpisodeRef) -> str:
        return self._claims.holder(ref.digest)
