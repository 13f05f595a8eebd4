"""A module with its optimiser and averaged weights, which one training step changes once."""

from __future__ import annotations

import copy
from typing import Generic

import torch
from torch import nn

from .checkpoint import Checkpoint
from .job import Module, TrainingJob, learning_rate
from .precision import tf32
from .randomness import seed_modules
from .recent_steps import Step
from .sampler import Rows


class Learner(Generic[Module]):
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
        averaged = copy.deepcopy(self.module) if options.ema and job.ranks.first else None
        self.ema = None if averaged is None else averaged.eval().requires_grad_(False)

    def checkpoint(self) -> Checkpoint:
        """Return the job's checkpoint, which may not exist yet."""
        path = self.job.folder / "checkpoint.safetensors"
        return Checkpoint(path, self.module, self.optimizer, self.ema)

    def trained(self) -> Module:
        """Return the module to use, in eval mode: its averaged weights if there are any."""
        return (self.module if self.ema is None else self.ema).eval()

    def learn(self, rows: Rows, step: int, *flags: bool) -> tuple[Step, list[bool]]:
        """Change the weights once.

        Also returns for each flag whether it is set in any process.
        """
        job, lr = self.job, learning_rate(self.job, step)
        seed_modules(job.seed, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        with tf32(job.tf32):
            loss, metrics = job.loss(rows, step)
            if loss.requires_grad:  # otherwise the loss has computed its gradients itself
                loss.backward()
        flags_of_any = job.ranks.sum_gradients(self.parameters, *flags)
        norm = nn.utils.clip_grad_norm_(self.parameters, job.optimization.grad_clip)
        self.optimizer.step()
        if self.ema is not None:
            _average(self.ema, self.module, job.optimization.ema, step)
        learned = Step(
            number=step,
            rows=rows,
            loss=loss.detach(),
            norm=norm,
            lr=lr,
            metrics=metrics if job.is_curve_point(step) else None,
        )
        return learned, flags_of_any


@torch.no_grad()
def _average(ema: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Update the averaged weights; the decay is smaller in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), 1 - decay)
    for averaged, current in zip(ema.buffers(), module.buffers(), strict=True):
        averaged.copy_(current)
