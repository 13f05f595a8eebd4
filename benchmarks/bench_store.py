"""Compare the feature store with memory-mapped NumPy and with zarr's own reader and writer.

Times are medians of alternating rounds: wall time for writing, and CPU time for reading with the
files in the page cache.

    python benchmarks/bench_store.py [--frames 80] [--folder DIR]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from rgb2act_core.store.group_reader import check_group, read_group
from rgb2act_core.store.group_writer import GroupWriter

TOKENS, CHANNELS, ROUNDS = 1369, 1024, 7


def write_store(path: Path, tokens_TNC: np.ndarray, codec: str = "none") -> None:
    with GroupWriter(path, codec=codec) as writer:
        writer.create("tokens", tokens_TNC.shape[1:], "float16")
        for t in range(len(tokens_TNC)):
            writer.append("tokens", tokens_TNC[t : t + 1])
        writer.commit({})


def write_npy(path: Path, tokens_TNC: np.ndarray) -> None:
    out = np.lib.format.open_memmap(path, "w+", tokens_TNC.dtype, tokens_TNC.shape)
    for t, tokens_NC in enumerate(tokens_TNC):
        out[t] = tokens_NC
    out.flush()


def write_zarr(path: Path, tokens_TNC: np.ndarray, **layout: object) -> None:
    array = zarr.create_array(path, shape=tokens_TNC.shape, dtype="float16", **layout)
    for t, tokens_NC in enumerate(tokens_TNC):
        array[t] = tokens_NC


def compare(
    title: str, unit: str, work: dict[str, Callable[[], float]], base: str, rounds: int = ROUNDS
) -> None:
    """Print the median of each candidate over alternating rounds and its ratio to the base."""
    costs: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            costs[name].append(run())
    medians = {name: statistics.median(values) for name, values in costs.items()}
    print(f"\n{title} (x = cost relative to '{base}')")
    for name, value in medians.items():
        low, high = min(costs[name]), max(costs[name])
        ratio = value / medians[base]
        print(f"  {name:38s} {value:10.4g} {unit}  {ratio:8.2f} x   ({low:.3g} to {high:.3g})")


def writing(folder: Path, tokens_TNC: np.ndarray) -> None:
    writers = {
        "store, uncompressed, checked, synced": lambda p: write_store(p, tokens_TNC),
        "store, zstd": lambda p: write_store(p, tokens_TNC, "zstd"),
        "NumPy .npy, memory-mapped, flushed": lambda p: write_npy(p, tokens_TNC),
        "zarr, one chunk per frame, no codec": lambda p: write_zarr(
            p, tokens_TNC, chunks=(1, *tokens_TNC.shape[1:]), compressors=None
        ),
        "zarr, default chunks and codec": lambda p: write_zarr(p, tokens_TNC),
    }
    count = iter(range(10**6))

    def timed(write: Callable[[Path], None]) -> Callable[[], float]:
        def run() -> float:
            start = time.perf_counter()
            write(folder / f"w{next(count)}")
            return (time.perf_counter() - start) / (tokens_TNC.nbytes / 1e9)

        return run

    named = {name: timed(write) for name, write in writers.items()}
    compare("Writing, frame by frame", "s/GB", named, "store, uncompressed, checked, synced", 3)


def reading(folder: Path, frames: int) -> None:
    store, plain = read_group(folder / "store")["tokens"], np.load(folder / "a.npy", mmap_mode="r")
    by_zarr = zarr.open_array(folder / "store" / "tokens", mode="r")
    rng = np.random.default_rng(0)

    def timed(read: Callable[[int], object], n: int) -> Callable[[], float]:
        def run() -> float:
            picks = rng.integers(0, frames, n).tolist()
            start = time.process_time()
            for t in picks:
                read(t)
            return (time.process_time() - start) / n * 1e3

        return run

    rows = np.sort(rng.choice(TOKENS, 64, replace=False))
    arrays = {"store, memory-mapped": store, "NumPy .npy, memory-mapped": plain}
    copies = {name: timed(lambda t, a=a: np.array(a[t]), 100) for name, a in arrays.items()}
    copies["the same file read by zarr"] = timed(lambda t: by_zarr[t], 30)
    compare("Copying a random frame", "ms", copies, "NumPy .npy, memory-mapped")
    picks = {name: timed(lambda t, a=a: a[t][rows], 1000) for name, a in arrays.items()}
    picks["the same file read by zarr"] = timed(lambda t: by_zarr[t][rows], 30)
    compare("Reading 64 random tokens of a random frame", "ms", picks, "NumPy .npy, memory-mapped")


def opening(folder: Path) -> None:
    def timed(run: Callable[[], object], n: int) -> Callable[[], float]:
        def once() -> float:
            start = time.process_time()
            for _ in range(n):
                run()
            return (time.process_time() - start) / n * 1e3

        return once

    work = {
        "np.load(mmap_mode='r')": timed(lambda: np.load(folder / "a.npy", mmap_mode="r"), 50),
        "store, index and metadata checked": timed(
            lambda: read_group(folder / "store")["tokens"], 50
        ),
        "zarr.open_group": timed(lambda: zarr.open_group(folder / "store", mode="r")["tokens"], 20),
        "store, all data checked": timed(lambda: check_group(folder / "store"), 1),
    }
    compare("Opening a group with one array", "ms", work, "np.load(mmap_mode='r')", 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=80, help="frames per file")
    parser.add_argument("--folder", type=Path, default=None, help="folder for temporary files")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tokens_TNC = rng.standard_normal((args.frames, TOKENS, CHANNELS), np.float32).astype("f2")
    print(
        f"{args.frames} frames of {TOKENS} x {CHANNELS} float16, {tokens_TNC.nbytes / 1e6:.0f} MB"
    )
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_store(folder / "store", tokens_TNC)
        np.save(folder / "a.npy", tokens_TNC)
        reading(folder, args.frames)
        opening(folder)
        writing(folder, tokens_TNC)


if __name__ == "__main__":
    main()
