"""Evaluate an aligner on held-out frames, and the backbones' pooled features as a baseline.

Shapes: F = frames, B = some of them, M = backbones, V = cameras, C = channels, S = numbers of a
state, D = embedding, equal to the teacher's width
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.splits import evenly_spaced
from ..features.frames import TokenFrames, WindowShape
from ..features.reader import EpisodeArrays
from ..training.sampler import Rows
from . import metrics
from .outputs import AlignedOutputs

MAX_FRAMES = 1000  # held-out frames that are evaluated, and training frames a probe is fitted to
BATCH_SIZE = 256  # frames or windows embedded at once, fewer if they do not fit


class EmbedderShape(WindowShape, Protocol):
    """The windows of a module that embeds frames, and the backbones that it reads."""

    @property
    def backbones(self) -> tuple[str, ...]:
        """Return the labels of the backbones; none of a student."""


class FrameEmbedder(Protocol):
    """An aligner, or a student that computes the same from images."""

    training: bool
    __call__: Callable[..., Any]  # returns ``Aligned``

    @property
    def config(self) -> EmbedderShape:
        """Return its windows and backbones."""

    def eval(self) -> Any:
        """Set eval mode."""

    def train(self, mode: bool = True) -> Any:
        """Set training mode."""


class AlignerEvaluator:
    """Retrieval, similarity to the teacher, and linear probes of an aligner's embeddings.

    Args:
        frames: tokens of all frames, or images if a student is evaluated.
        target_FD: the teacher's side of all frames, in the aligner's space.
        train_rows: training frames, which the probes are fitted to.
        held_rows: frames to evaluate on.
        demonstrations: number of episodes that are not scenes, which come first; the training
            frames of these are also measured.
    """

    def __init__(
        self,
        frames: TokenFrames,
        target_FD: Tensor,
        train_rows: Rows,
        held_rows: Rows,
        demonstrations: int = 0,
    ) -> None:
        self.frames, self.target_FD = frames, target_FD
        self.train_rows, self.held_rows = _subset(train_rows), _subset(held_rows)
        self.demonstrations = demonstrations
        self.states = known_states(frames)

    def restricted_to(self, rows: Rows) -> AlignerEvaluator:
        """Return an evaluator that uses only those of its frames that are among ``rows``."""
        evaluator = copy.copy(self)
        evaluator.train_rows = self.train_rows[np.isin(self.train_rows, rows)]
        evaluator.held_rows = self.held_rows[np.isin(self.held_rows, rows)]
        return evaluator

    def evaluate(self, aligner: FrameEmbedder, probes: bool = True) -> dict[str, float]:
        """Return the metrics of an aligner by name, and the mean share of each backbone.

        With ``probes`` also those that need the embeddings of training frames.
        """
        held = self._embed(aligner, self.held_rows)
        embedding, target = held.embedding_BD, self.target_FD[torch.from_numpy(self.held_rows)]
        episode = torch.from_numpy(self.frames.index.episode[self.held_rows]).to(target.device)
        found = {}
        for k in (1, 5):
            found[f"retrieval@{k}"] = metrics.retrieval(embedding, target, k)
            found[f"retrieval@{k}/episode"] = metrics.retrieval_within(
                embedding, target, episode, k
            )
            found[f"retrieval@{k}/pool"] = metrics.retrieval_in_pool(embedding, target, k)
        found["uniformity"] = metrics.uniformity(embedding)
        found["cosine"] = metrics.cosine(embedding, target)
        found["r2"] = metrics.r2(embedding, target)
        if probes:
            train = self._embed(aligner, self.train_rows).embedding_BD
            found |= self._of_training(train) | self._probes(train, embedding)
        shares = zip(aligner.config.backbones, held.weights_M.tolist(), strict=True)
        return found | {f"weight/{label}": share for label, share in shares}

    def evaluate_pooled(self, pooled: Sequence[EpisodeArrays]) -> dict[str, float]:
        """Return the probes of all backbones' pooled features (V, C), concatenated."""

        def concatenated(rows: Rows) -> Tensor:
            parts = [torch.from_numpy(part.gather(rows)).flatten(1) for part in pooled]
            return torch.cat(parts, 1).float()

        return self._probes(concatenated(self.train_rows), concatenated(self.held_rows))

    def size(self) -> dict[str, int]:
        """Return the number of evaluated frames and of frames in a retrieval pool."""
        count = len(self.held_rows)
        return {"frames": count, "pool": min(count, metrics.POOL)}

    def _of_training(self, train_BD: Tensor) -> dict[str, float]:
        """Return R2 on the training frames of demonstrations, if there are any."""
        demonstrated = self.frames.index.episode[self.train_rows] < self.demonstrations
        if not demonstrated.any():
            return {}
        target = self.target_FD[torch.from_numpy(self.train_rows[demonstrated])]
        return {"train_r2": metrics.r2(train_BD[torch.from_numpy(demonstrated)], target)}

    def _probes(self, train_BD: Tensor, held_BD: Tensor) -> dict[str, float]:
        """Return the error of a linear probe of each state that both parts have."""
        found = {}
        for name, states_FS in self.states.items():
            train_BS, held_BS = states_FS[self.train_rows], states_FS[self.held_rows]
            train_known, held_known = train_BS.isfinite().all(1), held_BS.isfinite().all(1)
            if train_known.any() and held_known.any():
                found[f"probe/{name}"] = metrics.ridge_error(
                    train_BD.cpu()[train_known],
                    train_BS[train_known],
                    held_BD.cpu()[held_known],
                    held_BS[held_known],
                )
        return found

    @torch.no_grad()
    def _embed(self, aligner: FrameEmbedder, rows: Rows) -> AlignedOutputs:
        training = aligner.training
        aligner.eval()
        window = aligner.config.window
        size = max(self.frames.gather_limit(BATCH_SIZE * window) // window, 1)
        parts = []
        for batch_rows in np.array_split(rows, -(-len(rows) // size)):
            needed, windows_LK = self.frames.required_rows(batch_rows, aligner.config)
            aligned = aligner(self.frames.gather(needed), windows_LK=windows_LK)
            parts.append(AlignedOutputs.of(aligned))
        aligner.train(training)
        return AlignedOutputs.concatenate(parts)


def _subset(rows: Rows) -> Rows:
    """Return at most MAX_FRAMES rows, evenly spaced."""
    at = evenly_spaced(len(rows), MAX_FRAMES)
    return rows[at]


def known_states(frames: TokenFrames) -> dict[str, Tensor]:
    """Return joint positions and simulator states (F, S) by name.

    Frames of episodes that do not record a state are NaN. A state whose width differs between
    episodes is left out, because it is not the same quantity in all of them.
    """
    episodes = [source.open() for source in frames.episodes]
    lengths = [episode.rgb.shape[0] for episode in episodes]
    recorded: list[Mapping[str, NDArray[np.float32]]] = [
        episode.state if episode.joints is None else {"joints": episode.joints, **episode.state}
        for episode in episodes
    ]
    found = {}
    for name in dict.fromkeys(name for states in recorded for name in states):
        parts = [
            states[name].reshape(length, -1) if name in states else None
            for states, length in zip(recorded, lengths, strict=True)
        ]
        widths = {part.shape[1] for part in parts if part is not None}
        if len(widths) == 1:
            unknown = np.full((1, *widths), np.nan, np.float32)
            rows = [
                np.repeat(unknown, length, 0) if part is None else part
                for part, length in zip(parts, lengths, strict=True)
            ]
            found[name] = torch.from_numpy(np.concatenate(rows))
    return found
