"""Measure what engines add to the work that they divide, and extraction by several workers.

1. The time of an empty job: starting it, and its end.
2. Units of empty work: episodes of one frame and an encoder that does nothing, in two shards. Each
   shard is a process. The time without units is subtracted, so what is left is the cost of a unit:
   its claim, its files and their flush to disk.
3. Extraction with a backbone by one worker and by several, each with one thread. On a machine with
   fewer free cores than workers, wall-clock times show too little; CPU times show what several
   workers do in addition.

Wall-clock times include those of starting processes; CPU times are those of the processes that do
the work, without the engine. Ray runs as one node with a CPU for each worker.

    python benchmarks/bench_engines.py [--workers 2] [--units 1000] [--engines local,ray]
        [--episodes 8] [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from bench_claims import Tiny
from bench_claims import episodes as tiny_episodes
from bench_extract import chosen
from shared import episodes, lift_distractors

from rgb2act_core.data.dataset import Dataset, stored_episode
from rgb2act_core.features.extraction_workers import make_missing
from rgb2act_core.interfaces import Cluster, EngineOptions
from rgb2act_core.plugins.registry import find_engine
from rgb2act_core.spec import Extract
from rgb2act_core.stages.extract import extract_features
from rgb2act_core.stages.keys import stored_features
from rgb2act_core.stages.run import Run
from rgb2act_core.system.shards import Shard

JOBS = 10  # empty ones


@attrs.frozen
class Job:
    """A shard as a process, as engines start the shards of a stage."""

    work: str
    folder: str
    shard: str
    units: int

    def __call__(self) -> float:
        """Return the CPU seconds of the process."""
        script = Path(__file__).with_name("bench_engines.py")
        options = (self.work, self.folder, self.shard, str(self.units))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, script, "--job", *options], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{self} ended with status {status}")
        return usage.ru_utime + usage.ru_stime


def do_shard(work: str, folder: str, shard: str, units: str) -> None:
    """Do the work of one job."""
    torch.set_num_threads(1)
    os.environ["RGB2ACT_QUIET"] = "1"
    number, _, count = shard.partition("/")
    part = Shard(int(number), int(count))
    if work == "empty":
        refs = part.part(tiny_episodes(int(units)))
        make_missing("tiny", Path(folder), refs, lambda _: Tiny(), ["cpu"], Extract())
    else:
        extract_shard(Path(folder), part, quick=work == "quick")


def extract_shard(folder: Path, shard: Shard, quick: bool) -> None:
    """Extract features of recorded episodes, which are next to the folder."""
    run = lift_distractors(folder)
    depth = {"depth": 2} if quick else {}
    croco = chosen("croco", weights="random", variant="v2-base", **depth)
    config = attrs.evolve(run.spec.extract, batch_size=4)
    run = Run(spec=attrs.evolve(run.spec, backbone=(croco,), extract=config), root=folder)
    paths = sorted((folder.parent / "recorded").iterdir())
    data = Dataset(demonstrations=tuple(map(stored_episode, paths)))
    extract_features(run, stored_features(run)[0], data, shard=shard)


def nothing() -> float:
    """Do nothing."""
    return 0.0


@attrs.frozen
class Cost:
    """Seconds that jobs took."""

    wall: float
    cpu: tuple[float, ...]  # of each job


class Timing:
    """Wall-clock times of jobs on one engine."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self._numbers = itertools.count()

    def jobs(self, jobs: Sequence[Callable[[], float]]) -> Cost:
        """Return what jobs cost."""
        start = time.perf_counter()
        cpu = tuple(self.cluster.run(jobs))
        return Cost(time.perf_counter() - start, cpu)

    def shards(self, work: str, count: int, units: int = 0) -> Cost:
        """Return what work in ``count`` shards costs."""
        folder = str(self.folder / f"{work}-{count}-{next(self._numbers)}")
        return self.jobs([Job(work, folder, f"{i}/{count}", units) for i in range(1, count + 1)])


@contextlib.contextmanager
def engine(name: str, workers: int, folder: Path) -> Iterator[Timing]:
    """Yield an engine with this number of workers on this machine."""
    with contextlib.ExitStack() as stack:
        if name == "ray":
            import ray

            ray.init("local", num_cpus=workers, include_dashboard=False, logging_level="ERROR")
            stack.callback(ray.shutdown)
        options = EngineOptions(workers=workers)
        cluster = stack.enter_context(find_engine(name).connect(options))
        yield Timing(cluster, folder / f"{name}-{workers}")


def show(name: str, wall: float, cpu: float, unit: str) -> None:
    """Print a wall-clock time and a CPU time."""
    print(f"  {name:46} {wall:9.4g} {unit}, CPU {cpu:9.4g} {unit}", flush=True)


def overhead(names: Sequence[str], workers: int, units: int, folder: Path) -> None:
    """Print what jobs and units of empty work cost."""
    print(f"\nempty work in {workers} shards, {units} units")
    for name in names:
        with engine(name, workers, folder) as timing:
            show(f"{name}: an empty job", timing.jobs([nothing] * JOBS).wall / JOBS * 1e3, 0, "ms")
            start, work = (timing.shards("empty", workers, count) for count in (0, units))
            show(f"{name}: processes of the shards", start.wall, sum(start.cpu), "s")
            wall, cpu = work.wall - start.wall, sum(work.cpu) - sum(start.cpu)
            show(f"{name}: a unit", wall / units * 1e3, cpu / units * 1e3, "ms")


def extraction(names: Sequence[str], workers: int, count: int, quick: bool, folder: Path) -> None:
    """Print how much faster several workers extract."""
    work = "quick" if quick else "full"
    for name in names:
        recorded = folder / f"{name}-1" / "recorded"
        episodes(recorded, *((count, 4, 64) if quick else (count, 20, 224)))
        (folder / f"{name}-{workers}").mkdir(exist_ok=True)
        (folder / f"{name}-{workers}" / "recorded").symlink_to(recorded)
        print(f"\nextraction, {name}")
        costs = []
        for size in (1, workers):
            with engine(name, size, folder) as timing:
                costs.append(timing.shards(work, size))
            show(f"workers: {size}", costs[-1].wall, sum(costs[-1].cpu), "s")
        one, several = costs
        print(f"  {one.wall / several.wall:.2f} times as fast")
        print(f"  {sum(one.cpu) / max(several.cpu):.2f} times, with a free core for each worker")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1, help="of all measurements")
    parser.add_argument("--engines", default="local,ray", help="engines, with commas [local,ray]")
    parser.add_argument("--episodes", type=int, default=8, help="to extract")
    parser.add_argument("--quick", action="store_true", help="small images and a small backbone")
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.job:
        do_shard(*options.job)
        return
    names: Any = options.engines.split(",")
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            overhead(names, options.workers, options.units, Path(name))
            extraction(names, options.workers, options.episodes, options.quick, Path(name))


if __name__ == "__main__":
    main()
