"""Compare gathering training batches from the feature store with memory-mapped NumPy files.

A batch consists of random frames of all episodes, copied in the order drawn. A single .npy file
with all frames is the lower bound; one .npy file per episode is the fair comparison. Times are CPU
time of one thread with the files in the page cache, the median of alternating rounds.

    python benchmarks/bench_features.py [--rounds 7]

Shapes: F = frames of all episodes, T = frames of one, V = cameras, N = patches, C = channels
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from shared import compare, timed

from rgb2act_core.features.reader import EpisodeArrays
from rgb2act_core.store.group_reader import read_group
from rgb2act_core.store.group_writer import GroupWriter

SMALL, LARGE = (2, 256, 32), (1, 1369, 1024)  # frames of lift_distractors and of a large backbone


def write(folder: Path, episodes: int, steps: int, frame: tuple[int, ...]) -> list[Path]:
    """Write the same random frames as stored groups, one .npy per episode, and a single .npy."""
    rng = np.random.default_rng(0)
    all_frames = np.lib.format.open_memmap(
        folder / "all.npy", "w+", "f2", (episodes * steps, *frame)
    )
    paths = [folder / f"{number:03d}" for number in range(episodes)]
    for number, path in enumerate(paths):
        part = rng.standard_normal((steps, *frame), np.float32).astype("f2")
        with GroupWriter(path) as writer:
            writer.create("tokens", frame, "float16")
            writer.append("tokens", part)
            writer.commit({})
        np.save(path.with_suffix(".npy"), part)
        all_frames[number * steps : (number + 1) * steps] = part
    all_frames.flush()
    return paths


def gather(parts: list[Any], steps: int, rows: NDArray[np.int64]) -> NDArray[np.float16]:
    return np.stack([parts[row // steps][row % steps] for row in rows.tolist()])


def bench(episodes: int, steps: int, frame: tuple[int, ...], batch: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write(folder, episodes, steps, frame)
        single = np.load(folder / "all.npy", mmap_mode="r")
        files = [np.load(path.with_suffix(".npy"), mmap_mode="r") for path in paths]
        arrays = [zarr.open_array(path / "tokens", mode="r") for path in paths]
        table = EpisodeArrays([read_group(path)["tokens"] for path in paths])
        rng = np.random.default_rng(1)
        rows = rng.integers(0, len(table), batch)
        for read in (table.gather, lambda r: gather(arrays, steps, r)):
            assert np.array_equal(read(rows), single[rows])

        def batches(read: Callable[[Any], Any], count: int) -> Callable[[], float]:
            return timed(
                lambda: [read(rng.integers(0, len(table), batch)) for _ in range(count)], count
            )

        count = 200 if frame is SMALL else 10
        work = {
            "NumPy, a single memory-mapped file": batches(lambda r: single[r], count),
            "NumPy, one mapped file per episode": batches(lambda r: gather(files, steps, r), count),
            "EpisodeArrays.gather": batches(table.gather, count),
            "the same files read by zarr": batches(lambda r: gather(arrays, steps, r), 2),
        }
        compare(f"{batch} of {len(table)} frames {frame} float16", "ms", work, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    rounds = parser.parse_args().rounds
    bench(50, 40, SMALL, 64, rounds)
    bench(5, 10, LARGE, 16, rounds)


if __name__ == "__main__":
    main()
