"""Measure an aligner on held-out frames, and what the backbones' tokens said before it.

Shapes: F = frames, B = a part of them, M = backbones, V = cameras, C = channels, S = numbers of a
state, D = embedding, as wide as the teacher's
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..features.frames import TokenFrames
from ..features.reader import EpisodeArrays
from . import metrics
from .aligner import Aligned, Aligner

MEASURED_FRAMES = 1000  # held-out frames that are measured, and training frames a probe learns from
AT_ONCE = 256  # frames, or windows of them, embedded at once where they fit


class AlignerEvaluator:
    """Measure an aligner on held-out frames."""

    def __init__(
        self,
        frames: TokenFrames,
        names: Sequence[str],
        target_FD: Tensor,
        train_rows: NDArray[np.int64],
        held_rows: NDArray[np.int64],
    ) -> None:
        self.frames, self.names, self.target_FD = frames, names, target_FD
        self.train, self.held = _some(train_rows), _some(held_rows)
        self.known = known(frames)

    def only(self, rows: NDArray[np.int64]) -> AlignerEvaluator:
        """Return a probe of those of its training and held-out rows that are among the given."""
        probe = copy.copy(self)
        probe.train, probe.held = (part[np.isin(part, rows)] for part in (self.train, self.held))
        return probe

    def measure(self, aligner: nn.Module, states: bool = True) -> dict[str, float]:
        """Return retrieval and closeness to the teacher, probes, and each backbone's share."""
        held = self._embed(aligner, self.held)
        seen, target = held.embedding, self.target_FD[torch.from_numpy(self.held)]
        episode = torch.from_numpy(self.frames.index.episode[self.held]).to(target.device)
        found = {}
        for k in (1, 5):
            found[f"retrieval@{k}"] = metrics.retrieval(seen, target, k)
            found[f"retrieval@{k}/episode"] = metrics.retrieval_within(seen, target, episode, k)
            found[f"retrieval@{k}/pool"] = metrics.retrieval_in_pool(seen, target, k)
        found["uniformity"] = metrics.uniformity(seen)
        found["cosine"] = metrics.cosine(seen, target)
        found["r2"] = metrics.r2(seen, target)
        if states:
            found |= self._probes(self._embed(aligner, self.train).embedding, seen)
        shares = zip(self.names, held.weights.tolist(), strict=True)
        return found | {f"weight/{name}": share for name, share in shares}

    def measure_pooled(self, tables: Sequence[EpisodeArrays]) -> dict[str, float]:
        """Return probes of all backbones' means over patches (V, C), side by side."""

        def seen(rows: NDArray[np.int64]) -> Tensor:
            parts = [torch.from_numpy(table.gather(rows)).flatten(1) for table in tables]
            return torch.cat(parts, 1).float()

        return self._probes(seen(self.train), seen(self.held))

    def size(self) -> dict[str, int]:
        """Return how many frames are measured, and how many a pool has."""
        return {"frames": len(self.held), "pool": min(len(self.held), metrics.POOL)}

    def _probes(self, train_FD: Tensor, held_FD: Tensor) -> dict[str, float]:
        found = {}
        for name, known_FS in self.known.items():
            train_BS, held_BS = known_FS[self.train], known_FS[self.held]
            some, others = train_BS.isfinite().all(1), held_BS.isfinite().all(1)
            if some.any() and others.any():
                found[f"probe/{name}"] = metrics.ridge_error(
                    train_FD.cpu()[some], train_BS[some], held_FD.cpu()[others], held_BS[others]
                )
        return found

    def _embed(self, aligner: nn.Module, rows: NDArray[np.int64]) -> Aligned:
        assert isinstance(aligner, Aligner)
        training = aligner.training
        aligner.eval()
        with torch.no_grad():
            window = aligner.shape.window
            size = max(self.frames.at_most(AT_ONCE * window) // window, 1)
            made_of = [
                self.frames.made_of(part, aligner.shape)
                for part in np.array_split(rows, -(-len(rows) // size))
            ]
            parts = [aligner(self.frames.gather(f), windows_LK=w) for f, w in made_of]
        aligner.train(training)
        sizes = torch.tensor([float(len(p.embedding)) for p in parts])
        share = (sizes / sizes.sum()).to(parts[0].weights.device)
        return Aligned(
            embedding=torch.cat([p.embedding for p in parts]),
            tokens=parts[0].tokens,
            weights=(torch.stack([p.weights for p in parts]) * share[:, None]).sum(0),
            loss=parts[0].loss,
        )


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    at = np.linspace(0, len(rows) - 1, min(len(rows), MEASURED_FRAMES)).astype(np.int64)
    return rows[at]


def known(frames: TokenFrames) -> dict[str, Tensor]:
    """Return joint positions and states (F, S) by name; NaN in episodes that do not know them."""
    episodes = [source.open() for source in frames.sources]
    lengths = [episode.rgb.shape[0] for episode in episodes]
    told: list[Mapping[str, NDArray[np.float32]]] = [
        episode.state if episode.joints is None else {"joints": episode.joints, **episode.state}
        for episode in episodes
    ]
    found = {}
    for name in dict.fromkeys(name for each in told for name in each):
        parts = [
            each[name].reshape(length, -1) if name in each else None
            for each, length in zip(told, lengths, strict=True)
        ]
        widths = {part.shape[1] for part in parts if part is not None}
        if len(widths) == 1:  # else it is not the same quantity in all of them
            unknown = np.full((1, *widths), np.nan, np.float32)
            rows = [
                np.repeat(unknown, length, 0) if part is None else part
                for part, length in zip(parts, lengths, strict=True)
            ]
            found[name] = torch.from_numpy(np.concatenate(rows))
    return found
