"""Divide a batch of training samples among several processes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..data.windows import plan_index, trained_steps
from ..features.token_grids import TokenSample
from ..training.ranks import Ranks
from ..training.row_draws import RowDraws, RowSet
from ..training.sampler import Rows
from .policy import Policy
from .samples import Samples
from .shared_batch import SharedBatch


def shared_loss(
    policy: Policy,
    samples: Samples,
    rows: Rows,
    noise: float,
    ranks: Ranks,
    cells: TokenSample | None = None,
) -> Tensor:
    """Return this process's share of the loss of a batch that all processes divide."""
    own = ranks.own(len(rows))
    mine, batch = rows[own], _batch(samples, rows, own, policy.config.horizon)
    draws = {**_frame_draws(policy, samples, rows, own), len(mine): batch.rows()}
    with RowDraws(draws):
        obs, extra = samples.observe(policy, mine, noise, cells)
        chunks = samples.plans(mine, policy.config.horizon)
        loss = policy.loss(obs, chunks.actions, chunks.trained, batch)
    return loss + extra * (len(mine) / len(rows))


def _batch(samples: Samples, rows: Rows, own: slice, horizon: int) -> SharedBatch:
    first, length = samples.episodes_of(rows)
    _, inside = plan_index(samples.index.step[rows], horizon, length)
    return SharedBatch(
        task_B=samples.task_R[torch.from_numpy(first)].numpy(),
        steps_B=trained_steps(inside, samples.after_end).sum(1),
        own=own,
    )


def _frame_draws(policy: Policy, samples: Samples, rows: Rows, own: slice) -> Mapping[int, RowSet]:
    """Return this process's frames among those that the aligner embeds for a batch."""
    if samples.frames is None or policy.aligner is None:
        return {}
    shape = policy.aligner.config
    every, needed = (
        samples.frames.required_rows(samples.observed_rows(policy, part).reshape(-1), shape)[0]
        for part in (rows, rows[own])
    )
    if shape.window == 1:
        steps = policy.config.n_obs_steps
        positions = np.arange(own.start * steps, own.stop * steps)
    else:  # both are sorted, each row once
        positions = np.searchsorted(every, needed)
    return {len(needed): RowSet(len(every), torch.from_numpy(positions))}
