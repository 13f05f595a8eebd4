"""Measure the speed of all stages by a short run of the spec in a temporary folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..spec import Spec
from ..stages.run import Run
from ..stages.tasks import Tasks
from ..system.formatting import format_duration
from ..system.interrupts import time_limit
from ..system.progress import quiet, say
from ..weights.inventory import inventory

UNAVAILABLE = ("not downloaded", "missing")  # states of weights
# of the short run, at most: more would take long, less would count the start of a stage as its work
EPISODES, SCENES, STEPS = 8, 20, 100
ACTED = 2  # evaluation episodes
LONGEST = 60.0  # seconds


def short_spec(spec: Spec) -> Spec:
    """Return a spec that does little of everything, at the speed of the given one."""
    collect = attrs.evolve(
        spec.collect,
        episodes=min(spec.collect.episodes, EPISODES),
        scenes=min(spec.collect.scenes, SCENES),
    )
    align = spec.align
    if align is not None:
        align = attrs.evolve(align, steps=min(align.steps, STEPS))
    policy = attrs.evolve(spec.policy, steps=min(spec.policy.steps, STEPS))
    act = attrs.evolve(
        spec.act, episodes=min(spec.act.episodes, ACTED), videos=0, baselines=(), seeds=None
    )
    return attrs.evolve(spec, name="short", collect=collect, align=align, policy=policy, act=act)


def frames_of(tasks: Tasks) -> int:
    """Return an upper bound of the frames that the short run encodes."""
    spec = short_spec(tasks.run.spec)
    return sum(spec.collect.episodes * task.info.max_steps + spec.collect.scenes for task in tasks)


def reason_against(tasks: Tasks) -> str:
    """Return why a spec has no short run; empty if it has one."""
    if missing := [need for need in inventory(tasks.run.spec) if need.state in UNAVAILABLE]:
        return f"weights {missing[0].file} are {missing[0].state}"
    for task in tasks:
        if not task.info.demonstrates or task.environment.recorded():
            return "its episodes are recorded already"
        if not task.info.acts:
            return "its environment has no simulator"
    return ""


@contextlib.contextmanager
def short_run(tasks: Tasks) -> Iterator[tuple[Run, str]]:
    """Run the short spec, and yield it while its timings exist, with why some are missing.

    It is interrupted after ``LONGEST`` seconds: a simulator may need them for a single episode.
    """
    from .chain import run_pipeline

    limit, missing = format_duration(LONGEST), ""
    say(f"measuring: a short run of all stages, at most {limit} (--no-time skips it)")
    with tempfile.TemporaryDirectory(prefix="rgb2act-") as name:
        root = Path(name).resolve()
        spec = short_spec(tasks.run.spec)
        try:
            with quiet(), time_limit(LONGEST):
                run_pipeline(spec, root, "act", logged=False)
        except TimeoutError:
            missing = f"a short run takes longer than {limit}"
        yield Run(spec=spec, root=root), missing
