"""The training loop that alignment and the policy share: checkpoints, curves, averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..system.interrupts import deferred
from ..system.progress import say, task
from .checkpoint import Checkpoint, seed_step
from .metrics_log import MetricsLog

CURVE_POINTS = 400  # rows a learning curve has at most


@attrs.frozen(eq=False, kw_only=True)
class TrainingJob:
    """Say what to train and how.

    ``loss()`` draws a batch with torch's global generator, which is seeded for the step, and
    returns the scalar loss and what to show of it. ``episodes()``, the generator seeded anew, names
    the episodes of that batch for an error. ``evaluate(module)`` returns measures on held-out data.
    ``ahead()``, the generator seeded for a step to come, may begin to fetch its batch.
    ``attempt(module, step)`` tries what was trained up to a step, every so many steps and after
    the last one, and returns measures; the time it takes does not count as training.
    """

    title: str
    module: nn.Module
    loss: Callable[[], tuple[Tensor, Mapping[str, float | Tensor]]]
    episodes: Callable[[], str]
    evaluate: Callable[[nn.Module], Mapping[str, float]]
    steps: int
    evaluations: int
    lr: float
    betas: tuple[float, float]
    weight_decay: float
    warmup: int
    clip: float
    ema: float | None
    seed: int
    folder: Path
    tensorboard: Path | None
    checkpoint_seconds: float
    ahead: Callable[[], None] | None = None
    attempt: Callable[[nn.Module, int], Mapping[str, float]] | None = None
    attempt_every: int = 1


@attrs.frozen(eq=False, kw_only=True)
class TrainingResult:
    """Hold the module that acts (averaged if asked) and what training it took.

    A resumed training's ``seconds`` count what came before; its ``steps`` do not.
    """

    module: nn.Module
    seconds: float
    cpu_seconds: float
    steps: int  # done now
    step_seconds: float  # that they took, without evaluations and checkpoints

    @property
    def rate(self) -> float:
        """Return steps a second, 0 when none was left to do."""
        return self.steps / self.step_seconds if self.steps else 0.0


def learning_rate(job: TrainingJob, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine to zero."""
    if step < job.warmup:
        return job.lr * (step + 1) / job.warmup
    return job.lr * 0.5 * (1 + math.cos(math.pi * step / job.steps))


def train_loop(job: TrainingJob) -> TrainingResult:
    """Train to the last step, from the newest checkpoint if there is one.

    Ctrl-C ends the step and saves a checkpoint first. A loss or gradient that is not finite
    raises UserError with the step and the batch's episodes.
    """
    module = job.module.train()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, job.lr, job.betas, weight_decay=job.weight_decay, fused=True
    )
    ema = None if job.ema is None else copy.deepcopy(module).eval().requires_grad_(False)
    checkpoint = Checkpoint(job.folder / "checkpoint.safetensors", module, optimizer, ema)
    state = checkpoint.load() or {"step": 0, "seconds": 0.0, "cpu_seconds": 0.0}
    first = state["step"]
    if first:
        say(f"{job.title}: resumes at step {first} of {job.steps}")
    wall, cpu = time.monotonic() - state["seconds"], time.process_time() - state["cpu_seconds"]
    saved, step, stepping = time.monotonic(), first, 0.0
    every, look = max(job.steps // CURVE_POINTS, 1), max(job.steps // job.evaluations, 1)

    def save(step: int) -> None:
        spent = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        checkpoint.save(step, **spent)

    with (
        MetricsLog(job.folder / "metrics.jsonl", job.tensorboard, job.title, first) as journal,
        task(job.title, job.steps, "steps", done=first) as advance,
        deferred() as stopping,
    ):
        for step in range(first, job.steps):
            began = time.monotonic()
            _look_ahead(job, step, first)
            seed_step(job.seed, step)
            lr = learning_rate(job, step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            loss, shown = job.loss()
            if loss.requires_grad:  # else it has added its gradients itself
                loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, job.clip)
            _check_finite(job, step, loss, norm)
            optimizer.step()
            if ema is not None:
                _average(ema, module, job.ema or 0.0, step)
            stepping += time.monotonic() - began
            if step % every == 0 or step == job.steps - 1:
                parts = {k: float(torch.as_tensor(v).detach()) for k, v in shown.items()}
                journal.write(step, loss=loss.item(), lr=lr, grad_norm=float(norm), **parts)
            if (step + 1) % look == 0 or step == job.steps - 1:
                measures = _measured(job, ema or module, step)
                journal.write(step, **{f"val/{k}": v for k, v in measures.items()})
                module.train()
            last = step == job.steps - 1
            if job.attempt and ((step + 1) % job.attempt_every == 0 or last):
                at, spent = time.monotonic(), time.process_time()
                journal.write(step, **job.attempt((ema or module).eval(), step))
                module.train()
                wall, cpu = wall + time.monotonic() - at, cpu + time.process_time() - spent
            advance(1, loss=loss.item())
            if stopping() or time.monotonic() - saved > job.checkpoint_seconds:
                save(step + 1)
                saved = time.monotonic()
            if stopping():
                raise KeyboardInterrupt
    return TrainingResult(
        module=(ema or module).eval(),
        seconds=time.monotonic() - wall,
        cpu_seconds=time.process_time() - cpu,
        steps=job.steps - first,
        step_seconds=stepping,
    )


def _look_ahead(job: TrainingJob, step: int, first: int) -> None:
    """Let the next step's batch be fetched while this one is computed; first, this one's too."""
    for coming in (step, step + 1) if step == first else (step + 1,):
        if job.ahead and coming < job.steps:
            seed_step(job.seed, coming)
            job.ahead()


def _measured(job: TrainingJob, module: nn.Module, step: int) -> Mapping[str, float]:
    module.eval()
    with torch.no_grad():
        seed_step(job.seed, -1 - step)  # an evaluation draws the same whether resumed or not
        return job.evaluate(module)


def _check_finite(job: TrainingJob, step: int, loss: Tensor, norm: Tensor) -> None:
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        seed_step(job.seed, step)
        raise UserError(
            f"{job.title}: step {step}: loss is {loss.item()}, gradient norm {norm.item()};"
            f" batch of {job.episodes()}; lower the learning rate or look at these episodes"
        )


@torch.no_grad()
def _average(ema: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights, faster in the first steps."""
    keep = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - keep)
    for old, new in zip(ema.buffers(), module.buffers(), strict=True):
        old.copy_(new)
