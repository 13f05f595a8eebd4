"""Training samples of the policy: features, joints and actions of all frames, in memory.

Each is one array with a row per frame, so a batch is one gather. Samples are numbered like the rows
of their newest frames; the steps past the episodes' ends follow, which repeat the last frame.

Shapes: B = batch, R = rows (frames of all demonstrations), O = n_obs_steps, F = features of a
frame, N W = tokens of a frame and their width, J = joints observed, S = horizon, A = controlled
action dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..alignment.aligner import Aligner
from ..alignment.building import targets_of
from ..alignment.metrics import r2
from ..data.action_layout import action_index
from ..data.dataset import Dataset
from ..data.splits import episode_weights, evenly_spaced, split_episodes, task_indices
from ..data.windows import plan_index, trained_steps, window_index
from ..distillation.student_encoder import StudentEncoder
from ..errors import UserError
from ..features.aligned import StoredAligned
from ..features.frames import TokenFrames, open_frames
from ..features.pixel_encoder import open_images
from ..features.reader import FrameIndex, StoredEmbeddings, StoredFeatures
from ..features.token_grids import TokenSample
from ..interfaces import EnvironmentInfo, Episode
from ..spec import PolicySpec, Spec
from ..spec.conditions import Condition
from ..training.ranks import ALONE, Ranks
from ..training.sampler import BatchSampler, Rows
from .aligned_features import compute_features, read_features
from .conditioning import (
    Features,
    FrameEncoder,
    Observation,
    aligned_features,
    feature_parts,
)
from .policy import Policy

MEASURED_FRAMES = 256  # held-out frames for which plans are sampled


@attrs.frozen(eq=False, kw_only=True)
class Chunks:
    """Action chunks of demonstrations; past an episode's end, its last action is repeated."""

    actions: Tensor  # (B, S, A)
    demonstrated: Tensor  # (B, S) bool, steps within the episode
    trained: Tensor  # (B, S) bool, steps with a loss


@attrs.frozen(eq=False, kw_only=True)
class Samples:
    """Features, joints and actions of all frames of the demonstrations, one row per frame."""

    index: FrameIndex  # of the samples
    names: tuple[str, ...]  # of the episodes
    frames: TokenFrames | None  # tokens, when the aligner is trained with the head
    features_R: Features  # only privileged ones, if the aligner is trained with the head
    # with policy.train_on = "teacher", those of training frames have the teacher's embeddings
    parts: tuple[int, ...]  # widths of the parts of a frame's feature vector
    joints_RJ: Tensor
    actions_RA: Tensor
    task_R: Tensor  # index into ``tasks``, on the CPU
    tasks: tuple[str, ...]
    sampler: BatchSampler  # of training batches
    rows: NDArray[np.int64]  # of the training frames
    held: NDArray[np.int64]  # for evaluation, of held-out episodes
    after_end: Literal["repeat", "mask"]
    teacher_r2: float | None = None
    """With policy.train_on = "teacher", the share of the variance of the teacher's embeddings that
    the aligner explains on held-out episodes."""

    def observe(
        self,
        policy: Policy,
        samples: NDArray[np.int64],
        noise: float,
        cells: TokenSample | None = None,
    ) -> tuple[Observation, Tensor | float]:
        """Return the observations (B, O, ...) of samples (B,), and the fusion's loss term.

        ``cells`` are the grid cells from which an aligner that is trained with the head computes
        its embedding; None is all.
        """
        rows_BO = self.observed_rows(policy, samples)
        row_BO = torch.from_numpy(rows_BO)
        task_B = self.task_R[row_BO[:, -1]]
        if self.frames is not None and policy.aligner is not None:
            needed, windows = self.frames.required_rows(rows_BO.reshape(-1), policy.aligner.config)
            aligned = policy.align(self.frames.gather(needed, cells), windows, cells)
            state_BS = self.features_R.vector[row_BO.reshape(-1)]
            flat = aligned_features(policy.condition, aligned, state_BS)
            features = flat.unflatten(rows_BO.shape)
            noise = noise if policy.condition.standardised else 0.0
            observation = policy.observe(features, self.joints_RJ[row_BO], noise, task_B)
            return observation, aligned.fusion_loss
        return policy.observe(self.features_R[row_BO], self.joints_RJ[row_BO], noise, task_B), 0.0

    def observed_rows(self, policy: Policy, samples: Rows) -> Rows:
        """Return the rows (B, O) of the frames that samples (B,) observe."""
        config, (first, length) = policy.config, self.episodes_of(samples)
        window = window_index(self.index.step[samples], config.n_obs_steps, config.history_stride)
        rows_BO: Rows = first[:, None] + np.minimum(window, length[:, None] - 1)
        return rows_BO

    def describe(self, rows: Rows) -> str:
        """Return the names of a batch's episodes."""
        return ", ".join(self.names[i] for i in np.unique(self.index.episode[rows]))

    def episodes_of(self, samples: Rows) -> tuple[Rows, Rows]:
        """Return the first rows (B,) and the lengths (B,) of the samples' episodes."""
        episode = self.index.episode[samples]
        first = self.index.starts[episode]
        return first, self.index.starts[episode + 1] - first

    def plans(self, samples: NDArray[np.int64], horizon: int) -> Chunks:
        """Return the action chunks of samples (B,)."""
        first, length = self.episodes_of(samples)
        steps, inside = plan_index(self.index.step[samples], horizon, length)
        actions = self.actions_RA[torch.from_numpy(steps + first[:, None])]
        trained = trained_steps(inside, self.after_end)
        return Chunks(
            actions=actions,
            demonstrated=torch.from_numpy(inside).to(actions.device),
            trained=torch.from_numpy(trained).to(actions.device),
        )


def open_samples(
    spec: Spec,
    data: Dataset,
    stored: Sequence[StoredFeatures] | StoredAligned,
    embeddings: StoredEmbeddings | None,
    info: EnvironmentInfo,
    aligner: FrameEncoder | None,
    device: str,
    folder: Path,
    ranks: Ranks = ALONE,
) -> Samples:
    """Return the samples of a data set; tokens that exceed the memory go to a file in ``folder``.

    ``stored`` are the features that the policy observes, of backbones or of the aligner.
    ``embeddings`` are the teacher's, if it observes them or is trained on them.
    """
    episodes = [source.open() for source in data.demonstrations]
    frame_index = FrameIndex.of([episode.rgb.shape[0] for episode in episodes])
    policy, task_E = spec.policy, task_indices(data.demonstrations)
    index = with_steps_past_end(frame_index, steps_past_end(policy))
    chosen = list(action_index(info.action_names, policy))
    halves = split_episodes(task_E, policy.holdout, spec.seed)
    frames = _frames(stored, data, aligner, device)
    condition = policy.observes
    state_RS = _states(condition, episodes, info)
    if embeddings is not None and condition.teacher:
        state_RS = torch.from_numpy(embeddings.embeddings(data.demonstrations))
    state_RS = state_RS.to(device)
    features = _features(condition, data, stored, state_RS, aligner, frames, folder, device, ranks)
    pooled = features.vector.shape[1] - state_RS.shape[1]
    task_R = task_E[frame_index.episode]
    rows = np.flatnonzero(np.isin(frame_index.episode, halves.train))
    held = np.flatnonzero(np.isin(frame_index.episode, halves.evaluated))
    teacher_r2 = None
    if policy.trains_on_teacher:
        assert isinstance(aligner, Aligner)
        assert embeddings is not None
        embedding_RD = _teacher_embeddings(aligner, embeddings, data, frame_index, device)
        width = embedding_RD.shape[1]
        teacher_r2 = r2(features.vector[held, :width], embedding_RD[held])
        features.vector[rows, :width] = embedding_RD[rows]
    trained = np.flatnonzero(np.isin(index.episode, halves.train))
    weight_E = episode_weights(policy.task_weights, attrs.evolve(data, scenes=()))
    past_end_B = past_end_weights(policy, trained, len(task_R))
    return Samples(
        index=index,
        names=tuple(source.name for source in data.demonstrations),
        frames=frames if condition.trains_aligner else None,
        features_R=features,
        parts=feature_parts(condition, aligner, pooled, state_RS.shape[1]),
        joints_RJ=_column([e.joints for e in episodes])[:, chosen].to(device),
        actions_RA=_column([e.actions for e in episodes])[:, chosen].to(device),
        task_R=torch.from_numpy(task_R),
        tasks=data.tasks or (info.task,),
        sampler=BatchSampler(
            trained,
            policy.batch_size,
            spec.seed,
            replacement=True,
            weights=weight_E[index.episode[trained]] * past_end_B,
        ),
        rows=rows,
        after_end=policy.after_end,
        teacher_r2=teacher_r2,
        held=np.concatenate([_few(held[task_R[held] == task]) for task in np.unique(task_R)]),
    )


def steps_past_end(policy: PolicySpec) -> int:
    """Return the number of samples past the end of each episode.

    A policy that stays where an episode ended observes the last frame again and again: these
    samples contain each observation until all its frames are the last one.
    """
    if policy.after_end == "mask":
        return 0
    return (policy.n_obs_steps - 1) * policy.history_stride


def with_steps_past_end(index: FrameIndex, count: int) -> FrameIndex:
    """Return the index of all frames, followed by ``count`` steps past the end of each episode."""
    lengths = np.diff(index.starts)
    past = lengths[:, None] + np.arange(count)
    episode = np.repeat(np.arange(len(lengths)), count)
    return FrameIndex(
        episode=np.concatenate([index.episode, episode]),
        step=np.concatenate([index.step, past.flatten()]),
        starts=index.starts,
    )


def past_end_weights(
    policy: PolicySpec, samples: NDArray[np.int64], frames: int
) -> NDArray[np.float64]:
    """Return sampling weights; samples past an end together count like one chunk at most.

    With a long history there are many samples past an episode's end, which are nearly equal.
    """
    count = steps_past_end(policy)
    weight = min(1.0, policy.n_action_steps / count) if count else 1.0
    return np.where(samples < frames, 1.0, weight)


def _few(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[evenly_spaced(len(rows), MEASURED_FRAMES)]


def _column(parts: list[Any]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))


def _states(condition: Condition, episodes: list[Episode], info: EnvironmentInfo) -> Tensor:
    """Return the true state of all rows (R, S), of width 0 if the condition does not include it."""
    names = info.state_names if condition.state else ()
    parts = [states_of(episode, names) for episode in episodes]
    if len(widths := {part.shape[1] for part in parts}) > 1:
        raise UserError(
            f"policy.condition: {condition.name!r} needs the same number of state values in"
            f" all episodes, got {sorted(widths)!r}"
        )
    return _column(parts)


def _frames(
    stored: Sequence[StoredFeatures] | StoredAligned,
    data: Dataset,
    aligner: FrameEncoder | None,
    device: str,
) -> TokenFrames | None:
    """Return what the aligner reads of all frames: stored tokens, or images if it is a student.

    None if there is no aligner, or if its outputs are stored.
    """
    if isinstance(aligner, StudentEncoder):
        return open_images(data.demonstrations, device)
    if aligner is None or isinstance(stored, StoredAligned):
        return None
    return open_frames(stored, data.demonstrations, device)


def _features(
    condition: Condition,
    data: Dataset,
    stored: Sequence[StoredFeatures] | StoredAligned,
    state_RS: Tensor,
    aligner: FrameEncoder | None,
    frames: TokenFrames | None,
    folder: Path,
    device: str,
    ranks: Ranks,
) -> Features:
    """Return the features of all rows, computed once."""
    if condition.trains_aligner:  # the aligner's part is computed in every step
        return Features(vector=state_RS)
    if isinstance(aligner, Aligner) and isinstance(stored, StoredAligned):
        return read_features(
            condition, aligner, stored, data.demonstrations, state_RS, folder, ranks
        )
    if aligner is not None and frames is not None:
        return compute_features(condition, aligner, frames, state_RS, folder, ranks)
    assert not isinstance(stored, StoredAligned)
    pooled = [features.pooled(data.demonstrations).arrays for features in stored]
    columns = [_column(list(parts)).flatten(1).to(device) for parts in pooled]
    return Features(vector=torch.cat([*columns, state_RS], 1))


def _teacher_embeddings(
    aligner: Aligner, stored: StoredEmbeddings, data: Dataset, index: FrameIndex, device: str
) -> Tensor:
    """Return the embeddings of all rows (R, D) that the aligner learned to compute."""
    teacher_RD = torch.from_numpy(stored.embeddings(data.demonstrations)).to(device)
    frames = TokenFrames(tokens=(), index=index, episodes=data.demonstrations, device=device)
    return targets_of(aligner, frames, teacher_RD)


def states_of(episode: Episode, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return an episode's true states concatenated, (T, S); S is 0 without names."""
    length = episode.rgb.shape[0]
    none = np.zeros((length, 0), np.float32)
    parts = [episode.state[name].reshape(length, -1) for name in names]
    return np.concatenate([none, *parts], axis=1)
