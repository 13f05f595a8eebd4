"""The training loop of alignment and policy: checkpoints, learning curves, averaged weights."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import attrs
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..system.interrupts import deferred
from ..system.progress import progress_bar, say
from .checkpoint import Checkpoint
from .metrics_log import Curves, MetricsLog
from .randomness import seed_modules
from .sampler import Rows

CURVE_POINTS = 400  # largest number of rows in a learning curve

Module = TypeVar("Module", bound=nn.Module)
Metrics = Mapping[str, float | Tensor]


class Sampler(Protocol):
    """Choose the batch of each step."""

    def indices(self, step: int) -> Rows:
        """Return the rows of a step's batch, a pure function of the step."""


@attrs.frozen(kw_only=True)
class Optimization:
    """AdamW with warm-up, cosine decay, gradient clipping and averaged weights."""

    lr: float  # peak learning rate
    betas: tuple[float, float]
    weight_decay: float
    warmup: int  # steps
    grad_clip: float  # largest gradient norm
    ema: float  # decay of the averaged weights; 0 trains without them


@attrs.frozen(eq=False, kw_only=True)
class TrainingJob(Generic[Module]):
    """A module, what it is trained on, and how.

    All draws of a step depend on ``seed`` and the step only: ``sampler`` and ``loss`` use
    generators of their own (``randomness.step_generator``), and torch's global generators are
    seeded at the beginning of each step for modules that draw from them.
    """

    title: str  # of progress bars, curves and messages
    module: Module
    sampler: Sampler
    loss: Callable[[Rows, int], tuple[Tensor, Metrics]]  # of rows in a step; what to plot
    describe: Callable[[Rows], str]  # names a batch's episodes in error messages
    evaluate: Callable[[Module], Mapping[str, float]]  # metrics on held-out data
    steps: int
    evaluations: int  # evenly spaced over the steps
    optimization: Optimization
    seed: int
    folder: Path  # of checkpoint and metrics
    curves: Curves | None  # receives the learning curves; None for nobody
    checkpoint_seconds: float  # between checkpoints
    prefetch: Callable[[Rows, int], None] | None = None  # begin to read a later step's rows
    # closed-loop metrics every ``attempt_every`` steps and after the last one, given the module and
    # the step; its time does not count as training time
    attempt: Callable[[Module, int], Mapping[str, float]] | None = None
    attempt_every: int = 1


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


def learning_rate(job: TrainingJob[Module], step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine decay to zero."""
    lr, warmup = job.optimization.lr, job.optimization.warmup
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * step / job.steps))


def train_loop(job: TrainingJob[Module]) -> TrainingResult[Module]:
    """Train to the last step, starting from the job's checkpoint if it has one.

    Ctrl-C finishes the current step and saves a checkpoint first. Raises UserError with the step
    and the batch's episodes if the loss or the gradient is not finite.
    """
    learner = _Learner(job)
    checkpoint = learner.checkpoint()
    state = checkpoint.load() or {"step": 0, "seconds": 0.0, "cpu_seconds": 0.0}
    first, clock = state["step"], _Clock(state["seconds"], state["cpu_seconds"])
    if first:
        say(f"{job.title}: resuming at step {first} of {job.steps}")
    saved, step_seconds = time.monotonic(), 0.0
    with (
        deferred() as stopping,
        MetricsLog(job.folder / "metrics.jsonl", job.curves, first) as log,
        progress_bar(job.title, job.steps, "steps", done=first) as advance,
    ):
        upcoming = job.sampler.indices(first)
        for step in range(first, job.steps):
            started = time.monotonic()
            seed_modules(job.seed, step)
            rows, upcoming = upcoming, job.sampler.indices(step + 1)
            if job.prefetch and step < job.steps - 1:
                job.prefetch(upcoming, step + 1)
            learned = learner.learn(rows, step)
            step_seconds += time.monotonic() - started
            learner.log(log, clock, step, learned)
            advance(1, loss=learned.loss.item())
            if stopping() or time.monotonic() - saved > job.checkpoint_seconds:
                checkpoint.save(step + 1, **clock.spent())
                saved = time.monotonic()
            if stopping():
                raise KeyboardInterrupt
    return TrainingResult(
        module=learner.trained(),
        steps=job.steps - first,
        step_seconds=step_seconds,
        **clock.spent(),
    )


class _Clock:
    """Time spent on training, that before an interruption included."""

    def __init__(self, seconds: float, cpu_seconds: float) -> None:
        self._wall, self._cpu = time.monotonic() - seconds, time.process_time() - cpu_seconds

    def spent(self) -> dict[str, float]:
        """Return ``seconds`` and ``cpu_seconds``."""
        seconds, cpu_seconds = time.monotonic() - self._wall, time.process_time() - self._cpu
        return {"seconds": seconds, "cpu_seconds": cpu_seconds}

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time of a block."""
        began, cpu_began = time.monotonic(), time.process_time()
        yield
        self._wall += time.monotonic() - began
        self._cpu += time.process_time() - cpu_began


@attrs.frozen(eq=False)
class _Learned:
    """One step of training."""

    loss: Tensor
    norm: Tensor  # of the gradient, before clipping
    lr: float
    metrics: Metrics

    def write(self, log: MetricsLog, step: int) -> None:
        """Write a row of the learning curves."""
        parts = {k: float(torch.as_tensor(v).detach()) for k, v in self.metrics.items()}
        log.write(step, loss=self.loss.item(), lr=self.lr, grad_norm=float(self.norm), **parts)


class _Learner(Generic[Module]):
    """A job's module with its optimiser and averaged weights."""

    def __init__(self, job: TrainingJob[Module]) -> None:
        self.job, self.module, options = job, job.module.train(), job.optimization
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            options.lr,
            options.betas,
            weight_decay=options.weight_decay,
            fused=True,
        )
        averaged = copy.deepcopy(self.module) if options.ema else None
        self.ema = None if averaged is None else averaged.eval().requires_grad_(False)

    def checkpoint(self) -> Checkpoint:
        """Return the job's checkpoint, which may not exist yet."""
        path = self.job.folder / "checkpoint.safetensors"
        return Checkpoint(path, self.module, self.optimizer, self.ema)

    def trained(self) -> Module:
        """Return the module to use, in eval mode: its averaged weights if there are any."""
        return (self.module if self.ema is None else self.ema).eval()

    def learn(self, rows: Rows, step: int) -> _Learned:
        """Change the weights once. Raises UserError if the loss or the gradient is not finite."""
        job, lr = self.job, learning_rate(self.job, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        loss, metrics = job.loss(rows, step)
        if loss.requires_grad:  # otherwise the loss has computed its gradients itself
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, job.optimization.grad_clip)
        _check_finite(job, rows, step, loss, norm)
        self.optimizer.step()
        if self.ema is not None:
            _average(self.ema, self.module, job.optimization.ema, step)
        return _Learned(loss, norm, lr, metrics)

    def log(self, log: MetricsLog, clock: _Clock, step: int, learned: _Learned) -> None:
        """Write what is due after a step: its loss, metrics on held-out data, and attempts."""
        job, last = self.job, step == self.job.steps - 1
        if step % max(job.steps // CURVE_POINTS, 1) == 0 or last:
            learned.write(log, step)
        if (step + 1) % max(job.steps // job.evaluations, 1) == 0 or last:
            with torch.no_grad():
                found = job.evaluate(self.trained())
            log.write(step, **{f"val/{name}": value for name, value in found.items()})
            self.module.train()
        if job.attempt and ((step + 1) % job.attempt_every == 0 or last):
            with clock.stopped():
                log.write(step, **job.attempt(self.trained(), step))
                self.module.train()


def _check_finite(
    job: TrainingJob[Module], rows: Rows, step: int, loss: Tensor, norm: Tensor
) -> None:
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        raise UserError(
            f"{job.title}: step {step}: loss is {loss.item()}, gradient norm is {norm.item()} for a"
            f" batch of {job.describe(rows)}; lower the learning rate or inspect these episodes"
        )


@torch.no_grad()
def _average(ema: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Update the averaged weights; the decay is smaller in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - decay)
    for averaged, current in zip(ema.buffers(), module.buffers(), strict=True):
        averaged.copy_(current)
