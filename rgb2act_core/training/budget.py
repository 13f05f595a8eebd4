"""How many training steps a budget of CPU time allows."""

from __future__ import annotations

import copy
import time

import torch
from torch import nn

from ..store.files import read_json, write_json
from .loop import TrainingJob

CALIBRATION = (5, 20)  # steps to warm up, steps to time


def fitted_steps(job: TrainingJob, budget: float) -> int:
    """Return how many steps the budget allows; timed once, then kept for a resumed run."""
    place = job.folder / "steps.json"
    if not place.exists():
        spent = _step_time(job)
        write_json(place, {"steps": max(int(budget / spent), 1), "step_cpu_seconds": spent})
    return int(read_json(place)["steps"])


def _step_time(job: TrainingJob) -> float:
    """Return CPU seconds of a training step, measured on the module, which is then put back."""
    state = copy.deepcopy(job.module.state_dict())
    parameters = [p for p in job.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-5, fused=True)
    warm, timed = CALIBRATION
    torch.manual_seed(job.seed)
    start = time.process_time()
    for step in range(warm + timed):
        if step == warm:
            start = time.process_time()
        optimizer.zero_grad()
        job.loss()[0].backward()
        nn.utils.clip_grad_norm_(parameters, job.clip)
        optimizer.step()
    spent = time.process_time() - start
    job.module.load_state_dict(state)
    return spent / timed
