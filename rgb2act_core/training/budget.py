"""How many training steps fit into a budget of CPU time."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from torch import nn

from ..store.files import read_json, write_json
from .job import TrainingJob
from .randomness import seed_modules

WARMUP_STEPS, TIMED_STEPS = 5, 20


def steps_within(job: TrainingJob[Any], cpu_seconds: float) -> int:
    """Return how many steps the CPU time allows, at least one.

    The first call times a few steps and stores the result in the job's folder as ``steps.json``, so
    that a resumed run trains for the same number of steps.
    """
    path = job.folder / "steps.json"
    if not path.exists():
        per_step = _cpu_seconds_per_step(job)
        steps = max(int(cpu_seconds / per_step), 1)
        write_json(path, {"steps": steps, "step_cpu_seconds": per_step})
    return int(read_json(path)["steps"])


def _cpu_seconds_per_step(job: TrainingJob[Any]) -> float:
    """Return the CPU seconds of a training step; the module's weights are restored afterwards."""
    state = copy.deepcopy(job.module.state_dict())
    parameters = [p for p in job.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-5, fused=True)
    start = time.process_time()
    for step in range(WARMUP_STEPS + TIMED_STEPS):
        if step == WARMUP_STEPS:
            start = time.process_time()
        seed_modules(job.seed, step)
        optimizer.zero_grad()
        job.loss(job.sampler.indices(step), step)[0].backward()
        nn.utils.clip_grad_norm_(parameters, job.optimization.grad_clip)
        optimizer.step()
    spent = time.process_time() - start
    job.module.load_state_dict(state)
    return spent / TIMED_STEPS
