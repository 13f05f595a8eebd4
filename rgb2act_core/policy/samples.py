"""What the demonstrations show and what was done in them, in memory, for the policy to train on.

The frames' features, joints and actions are one array each; a batch is one gather.

Shapes: B = batch, R = rows (frames of all demonstrations), O = n_obs_steps, F = features of a
frame, N W = tokens of a frame and their width, J = joints seen, S = horizon, A = dimensions moved
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..alignment.aligner import Aligner
from ..data.action_layout import action_index
from ..data.dataset import Dataset
from ..data.sampling import episode_weights, evenly_spaced, split_episodes, task_index
from ..data.windows import plan_index, window_index
from ..errors import UserError
from ..features.frames import TokenFrames, open_frames
from ..features.reader import FrameIndex, StoredFeatures
from ..interfaces import EnvironmentInfo, Episode
from ..store.files import guard
from ..store.run import Run
from ..system.devices import free_memory
from ..system.progress import say, task
from ..training.sampler import BatchSampler, Rows
from .conditioning import Features, Observation, features_of, over_windows
from .policy import Policy

EMBED_BATCH = 256
MEASURED_FRAMES = 256  # held-out frames that plans are sampled for
SPILLED = "tokens.f16"  # aligned tokens, while they are trained on, where memory is short


@attrs.frozen(eq=False, kw_only=True)
class Samples:
    """Hold what the demonstrations' frames show and what was done, row by row."""

    index: FrameIndex
    names: tuple[str, ...]  # of the episodes
    frames: TokenFrames | None  # tokens, when the aligner is trained with the head
    features_R: Features  # vectors (R, 0) when the backbones' tokens are used
    joints_RJ: Tensor
    actions_RA: Tensor
    task_R: Tensor  # places of the rows' tasks
    tasks: tuple[str, ...]  # their names
    sampler: BatchSampler  # of training batches
    rows: NDArray[np.int64]  # that train
    held: NDArray[np.int64]  # that are measured on

    def observe(
        self, policy: Policy, rows: NDArray[np.int64], noise: float
    ) -> tuple[Observation, Tensor | float]:
        """Return observations that end at the given rows, and the fusion's loss term."""
        window = window_index(self.index.step[rows], policy.shape.n_obs_steps)
        rows_BO = self.index.starts[self.index.episode[rows]][:, None] + window
        at, task_B = torch.from_numpy(rows_BO), self.task_R[torch.from_numpy(rows)]
        if self.frames is not None:
            assert policy.aligner is not None
            made_of, windows = self.frames.required_rows(rows_BO.reshape(-1), policy.aligner.config)
            aligned = policy.align(self.frames.gather(made_of), windows)
            features = Features(vector=aligned.embedding.unflatten(0, rows_BO.shape))
            # what is still being learned has no scale that noise could be measured in
            return policy.observe(features, self.joints_RJ[at], task_B=task_B), aligned.fusion_loss
        return policy.observe(self.features_R[at], self.joints_RJ[at], noise, task_B), 0.0

    def describe(self, rows: Rows) -> str:
        """Return the names of a batch's episodes."""
        return ", ".join(self.names[i] for i in np.unique(self.index.episode[rows]))

    def plans(self, rows: NDArray[np.int64], horizon: int) -> tuple[Tensor, Tensor]:
        """Return demonstrated actions (B, S, A) from the given rows on, and their mask (B, S)."""
        first = self.index.starts[self.index.episode[rows]]
        length = self.index.starts[self.index.episode[rows] + 1] - first
        steps, inside = plan_index(self.index.step[rows], horizon, length)
        actions = self.actions_RA[torch.from_numpy(steps + first[:, None])]
        return actions, torch.from_numpy(inside).to(actions.device)


def open_samples(
    run: Run,
    data: Dataset,
    stored: Sequence[StoredFeatures],
    info: EnvironmentInfo,
    aligner: Aligner | None,
    device: str,
    folder: Path,
) -> Samples:
    """Return the samples of a data set; the stage's folder takes what memory cannot hold.

    ``stored`` are the features of the backbones that the policy observes.
    """
    episodes = [source.open() for source in data.demonstrations]
    index = FrameIndex.of([episode.rgb.shape[0] for episode in episodes])
    chosen = list(action_index(info.action_names, run.spec.policy))
    spec, task_E = run.spec.policy, task_index(data.demonstrations)
    halves = split_episodes(task_E, spec.holdout, run.spec.seed)
    frames = open_frames(stored, data.demonstrations, device) if aligner is not None else None
    features = _features(run, data, stored, info, episodes, aligner, frames, folder, device)
    task_R = task_E[index.episode]
    rows = np.flatnonzero(np.isin(index.episode, halves.train))
    held = np.flatnonzero(np.isin(index.episode, halves.evaluated))
    weight_E = episode_weights(spec.task_weights, attrs.evolve(data, scenes=()))
    return Samples(
        index=index,
        names=tuple(source.name for source in data.demonstrations),
        frames=frames if spec.condition == "end_to_end" else None,
        features_R=features,
        joints_RJ=_column([e.joints for e in episodes])[:, chosen].to(device),
        actions_RA=_column([e.actions for e in episodes])[:, chosen].to(device),
        task_R=torch.from_numpy(task_R).to(device),
        tasks=data.tasks or (info.task,),
        sampler=BatchSampler(
            rows,
            spec.batch_size,
            run.spec.seed,
            replacement=True,
            weights=weight_E[index.episode[rows]],
        ),
        rows=rows,
        held=np.concatenate([_few(held[task_R[held] == task]) for task in np.unique(task_R)]),
    )


def _few(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    at = evenly_spaced(len(rows), MEASURED_FRAMES)
    return rows[at]


def _column(parts: list[Any]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


def _features(
    run: Run,
    data: Dataset,
    stored: Sequence[StoredFeatures],
    info: EnvironmentInfo,
    episodes: list[Episode],
    aligner: Aligner | None,
    frames: TokenFrames | None,
    folder: Path,
    device: str,
) -> Features:
    """Return the features of all rows, computed once."""
    condition = run.spec.policy.condition
    count = sum(episode.rgb.shape[0] for episode in episodes)
    if condition == "oracle":
        parts = [states_of(episode, info.state_names) for episode in episodes]
        if len(widths := {part.shape[1] for part in parts}) > 1:
            raise UserError(
                f"policy.condition: 'oracle' needs states of one width, episodes have {widths!r}"
            )
        return Features(vector=_column(parts).to(device))
    if condition == "single_backbone":
        table = stored[0].pooled(data.demonstrations)
        return Features(vector=_column(list(table.arrays)).flatten(1).to(device))
    if condition in ("proprio_only", "end_to_end"):
        return Features(vector=torch.zeros(count, 0, device=device))
    assert aligner is not None
    assert frames is not None
    return _aligned(condition, aligner, frames, count, folder / SPILLED, device)


def _aligned(
    condition: str, aligner: Aligner, frames: TokenFrames, count: int, spilled: Path, device: str
) -> Features:
    """Return what the frozen aligner makes of all rows; tokens as float16.

    Tokens that would take more than half of the free memory lie in a mapped file instead.
    """
    vectors: list[Tensor] = []
    tokens: Tensor | None = None
    with task("aligned features", count, "frames") as advance, torch.no_grad():
        aligner.eval()
        size = frames.gather_limit(EMBED_BATCH)
        for first in range(0, count, size):
            rows = np.arange(first, min(first + size, count))
            seen, _ = features_of(condition, aligner, frames.gather(rows))
            vectors.append(seen.vector)
            if seen.tokens is not None:
                if tokens is None:
                    tokens = _room((count, *seen.tokens.shape[1:]), spilled, device)
                tokens[first : first + len(rows)] = seen.tokens.half()
            advance(len(rows))
    vector = torch.cat(vectors)
    if aligner.config.window > 1:
        windows = torch.from_numpy(frames.windows(np.arange(count), aligner.config))
        with torch.no_grad():
            vector = over_windows(aligner, Features(vector=vector), windows).vector
    return Features(vector=vector, tokens=tokens)


def _room(shape: tuple[int, ...], spilled: Path, device: str) -> Tensor:
    """Return an array (R, N, W) float16 to fill, on the device or, too large for it, in a file."""
    size = 2 * math.prod(shape)
    if size <= free_memory(device) // 2:
        return torch.empty(shape, dtype=torch.float16, device=device)
    say(f"train: {size / 1e9:.1f} GB of aligned tokens lie in {spilled}: memory is short of them")
    with guard(spilled):
        mapped = np.memmap(spilled, np.float16, "w+", shape=shape)
    return torch.from_numpy(mapped)


def states_of(episode: Episode, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return an episode's true states side by side, (T, F)."""
    length = episode.rgb.shape[0]
    return np.concatenate([episode.state[name].reshape(length, -1) for name in names], axis=1)
