"""Compare extraction with a claim on each episode with one lock for all of them.

The lock is what keeps a second process from working on the folder at all; claims let it encode
other episodes. Episodes have one frame and the encoder does nothing, so that the difference shows.
Times are wall-clock, the median of alternating rounds.

    python benchmarks/bench_claims.py [--rounds 3] [--episodes 1000]
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from shared import compare

from rgb2act_core.data.dataset import EpisodeRef
from rgb2act_core.features import extraction_workers
from rgb2act_core.features.extraction_workers import make_missing
from rgb2act_core.interfaces import Episode
from rgb2act_core.spec import Extract
from rgb2act_core.store.group_writer import GroupWriter
from rgb2act_core.store.locks import locked


class Tiny:
    """An encoder that stores one number for each frame."""

    def read(self, episode: Episode, first: int, last: int) -> Any:
        return np.zeros((last - first, 1), np.float32)

    def begin(self, episode: Episode) -> Callable[[int, Any], Any]:
        return lambda first, rows: {"rows": torch.from_numpy(rows)}

    def store(self, writer: GroupWriter, first: int, encoded: Any) -> None:
        writer.create("rows", (1,), "float32")
        writer.append("rows", encoded["rows"].numpy())

    def describe(self, episode: Episode) -> dict[str, Any]:
        return {}


class NoClaims:
    """What replaces claims where one lock covers the folder."""

    def __init__(self, folder: Path) -> None:
        self.lock = locked(folder.with_name(folder.name + ".lock"))

    def __enter__(self) -> NoClaims:
        self.lock.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.lock.__exit__(*exc)

    def take(self, name: str) -> bool:
        return True

    def release(self, name: str) -> None:
        pass


def episodes(count: int) -> list[EpisodeRef]:
    """Return episodes of one frame."""
    episode = Episode(
        name="tiny",
        task="none",
        instruction="none",
        cameras=("camera",),
        rgb=np.zeros((1, 1, 2, 2, 3), np.uint8),
        joints=None,
        actions=None,
        clouds=None,
    )
    return [EpisodeRef(name=f"{i}", digest=f"{i:064x}", episode=episode) for i in range(count)]


@contextlib.contextmanager
def one_lock() -> Iterator[None]:
    """Replace claims by one lock."""
    with mock.patch.object(extraction_workers, "Claims", NoClaims):
        yield


@contextlib.contextmanager
def no_flock() -> Iterator[None]:
    """Let ``flock`` fail as on a file system that does not have it."""
    error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    with mock.patch("fcntl.flock", side_effect=error):
        yield


def main() -> None:
    """Print the time for each episode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    parser.add_argument("--episodes", type=int, default=1000)
    args = parser.parse_args()
    os.environ["RGB2ACT_QUIET"] = "1"
    refs, numbers = episodes(args.episodes), itertools.count()
    with tempfile.TemporaryDirectory() as name:

        def cost(context: Callable[[], Any]) -> Callable[[], float]:
            def measure() -> float:
                folder, start = Path(name) / str(next(numbers)), time.perf_counter()
                with context():
                    make_missing("tiny", folder, refs, lambda _: Tiny(), ["cpu"], Extract())
                return 1e3 * (time.perf_counter() - start) / len(refs)

            return measure

        work = {
            "one lock": cost(one_lock),
            "a claim for each episode": cost(contextlib.nullcontext),
            "the same without flock": cost(no_flock),
        }
        compare(f"{len(refs)} episodes of one frame", "ms/episode", work, args.rounds)


if __name__ == "__main__":
    main()
