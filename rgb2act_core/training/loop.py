"""The training loop of alignment and policy: checkpoints, learning curves, averaged weights."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Generic

import attrs
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError
from ..system.interrupts import deferred
from ..system.progress import progress_bar, say
from .job import Module, TrainingJob
from .learner import Learner
from .metrics_log import MetricsLog
from .ranks import ALONE, Ranks
from .recent_steps import EVERY, Numbers, RecentSteps


@attrs.frozen(eq=False, kw_only=True)
class TrainingResult(Generic[Module]):
    """The trained module (its averaged weights, if there are any) and the cost of training.

    ``seconds`` include the time before a resumed run was interrupted; ``steps`` do not.
    """

    module: Module
    seconds: float
    cpu_seconds: float
    steps: int  # of this process
    step_seconds: float  # of these steps, without evaluations and checkpoints

    @property
    def steps_per_second(self) -> float:
        """Return the training speed of this process; 0 if no step was left to do."""
        return self.steps / self.step_seconds if self.steps else 0.0


def train_loop(job: TrainingJob[Module]) -> TrainingResult[Module]:
    """Train to the last step, starting from the job's checkpoint if it has one.

    Ctrl-C finishes the current step and saves a checkpoint first. Raises UserError with the step
    and the batch's episodes if the loss or the gradient is not finite.
    """
    _check_divisible(job)
    learner, ranks = Learner(job), job.ranks
    checkpoint = learner.checkpoint()
    state = checkpoint.load() or {"step": 0, "seconds": 0.0, "cpu_seconds": 0.0}
    first, clock = state["step"], _Clock(state["seconds"], state["cpu_seconds"], ranks.size)
    _check_same_step(job, first)
    ranks.copy_from_first(job.module)
    if first:
        say(f"{job.title}: resuming at step {first} of {job.steps}")
    saved, step_seconds = time.monotonic(), 0.0

    def overdue() -> bool:
        return ranks.first and time.monotonic() - saved > job.checkpoint_seconds

    with (
        deferred() as stopping,
        _open_log(job, first) as log,
        progress_bar(job.title, job.steps, "steps", done=first) as advance,
    ):
        report = _Report(job, log)
        upcoming = job.sampler.indices(first)
        for step in range(first, job.steps):
            started = time.monotonic()
            rows, upcoming = upcoming, job.sampler.indices(step + 1)
            if job.prefetch and step < job.steps - 1:
                job.prefetch(upcoming, step + 1)
            with _explained(report):
                learned, (stop, save) = learner.learn(rows, step, stopping(), overdue())
            report.recent.add(learned)
            loss = report.read() if report.is_due(step) else None
            step_seconds += time.monotonic() - started
            report.evaluate(learner, clock, step)
            advance(1, **({} if loss is None else {"loss": loss}))
            if ranks.alone:  # several processes have agreed before the step
                stop, save = stopping(), overdue()
            if stop or save:
                report.read()
                if ranks.first:
                    checkpoint.save(step + 1, **clock.spent())
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    return TrainingResult(
        module=learner.trained(),
        steps=job.steps - first,
        step_seconds=step_seconds,
        **clock.spent(),
    )


class _Clock:
    """Time spent on training, that before an interruption included.

    The CPU time is that of all ``processes``, which work equally.
    """

    def __init__(self, seconds: float, cpu_seconds: float, processes: int) -> None:
        self._processes = processes
        self._wall = time.monotonic() - seconds
        self._cpu = time.process_time() - cpu_seconds / processes

    def spent(self) -> dict[str, float]:
        """Return ``seconds`` and ``cpu_seconds``."""
        own = time.process_time() - self._cpu
        return {"seconds": time.monotonic() - self._wall, "cpu_seconds": own * self._processes}

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time of a block."""
        began, cpu_began = time.monotonic(), time.process_time()
        yield
        self._wall += time.monotonic() - began
        self._cpu += time.process_time() - cpu_began


@contextlib.contextmanager
def _explained(report: _Report) -> Iterator[None]:
    """Report an earlier step that was not finite in place of an error that follows from it."""
    try:
        yield
    except Exception:
        report.read(ALONE)
        raise


def _open_log(
    job: TrainingJob[Any], first: int
) -> contextlib.AbstractContextManager[MetricsLog | None]:
    """Return the metrics file, or None in all processes but the first."""
    if not job.ranks.first:
        return contextlib.nullcontext()
    return MetricsLog(job.folder / "metrics.jsonl", job.curves, first)


def _check_divisible(job: TrainingJob[Any]) -> None:
    """Raise UserError if several processes cannot train the module like one."""
    if not job.ranks.alone and any(isinstance(m, _BatchNorm) for m in job.module.modules()):
        raise UserError(
            f"{job.title}: the module normalises over the batch, and {job.ranks.size} processes"
            " divide it; train with one process"
        )


def _check_same_step(job: TrainingJob[Any], first: int) -> None:
    """Raise UserError if the processes have read different checkpoints."""
    if job.ranks.alone:
        return
    total = job.ranks.sum(torch.tensor([first], dtype=torch.float64)).tolist()[0]
    if total != first * job.ranks.size:
        raise UserError(
            f"{job.title}: process {job.ranks.rank} has read a checkpoint of step {first}, others"
            " another one; check that all machines see the same files, and run again"
        )


class _Report:
    """Writes the numbers of training, which it reads from the device together for many steps."""

    def __init__(self, job: TrainingJob[Any], log: MetricsLog | None) -> None:
        self.job, self.log, self.recent = job, log, RecentSteps(job.ranks)

    def read(self, ranks: Ranks | None = None) -> float | None:
        """Write the rows of the steps since the last call; return the latest loss.

        Raises UserError with the step and the batch's episodes if the loss or the gradient of a
        step was not finite.
        """
        loss = None
        for numbers in self.recent.read(ranks):
            _check_finite(self.job, numbers)
            if self.log and numbers.row is not None:
                self.log.write(numbers.step.number, **numbers.row)
            loss = numbers.loss
        return loss

    def is_due(self, step: int) -> bool:
        """Return whether numbers are shown after a step."""
        job = self.job
        evaluated = job.is_evaluated(step) or job.is_attempted(step)
        return (step + 1) % EVERY == 0 or evaluated or job.is_last(step)

    def evaluate(self, learner: Learner[Any], clock: _Clock, step: int) -> None:
        """Write what is due after a step: metrics on held-out data, and attempts."""
        job = self.job
        if self.log is None:
            return
        if job.is_evaluated(step):
            with torch.no_grad():
                found = job.evaluate(learner.trained())
            self.log.write(step, **{f"val/{name}": value for name, value in found.items()})
            learner.module.train()
        if job.attempt and job.is_attempted(step):
            with clock.stopped():
                self.log.write(step, **job.attempt(learner.trained(), step))
                learner.module.train()


def _check_finite(job: TrainingJob[Any], numbers: Numbers) -> None:
    if not numbers.is_finite:
        step = numbers.step
        raise UserError(
            f"{job.title}: step {step.number}: loss is {numbers.loss}, gradient norm is"
            f" {numbers.norm} for a batch of {job.describe(step.rows)}; lower the learning rate or"
            " inspect these episodes"
        )
