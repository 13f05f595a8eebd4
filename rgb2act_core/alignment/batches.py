"""What one step of alignment learns from: a drawn batch, its tokens and targets, and the loss.

Shapes: B = batch, F = frames, L = windows, K = frames of a window, H = group tokens of a cloud,
C = their channels, G = training frames, D = embedding
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from numpy.typing import NDArray
from torch import Tensor

from ..data.dataset import Dataset
from ..data.sampling import WeightedSampler, weight_of
from ..features.frames import TokenFrames
from ..features.prefetch import TokenPrefetcher
from ..features.reader import EpisodeArrays
from ..features.token_grids import TokenSample
from ..spec import Augment
from ..spec.conditions import labels_of
from ..store.run import Run
from . import losses
from .aligner import Adapter, Aligner
from .augmentation import augment
from .gradient_cache import gradcache_backward
from .losses import Alike
from .objective import LossInputs, embedded, joined, objective, shown


class AlignmentBatches:
    """Draw batches with torch's global generator and compute the loss."""

    def __init__(
        self,
        run: Run,
        data: Dataset,
        frames: TokenFrames,
        target_FD: Tensor,
        rows: NDArray[np.int64],
        groups: EpisodeArrays | None = None,
    ) -> None:
        self.groups = groups
        self.align, self.size = run.spec.align, min(run.spec.align.batch_size, len(rows))
        self.frames, self.target_FD, self.rows = frames, target_FD, rows
        self.episode = torch.from_numpy(frames.index.episode).to(target_FD.device)
        self.step = torch.from_numpy(frames.index.step).to(target_FD.device)
        self.every = torch.from_numpy(rows)
        self.bank_GD = None  # of length 1, as all that compares with it needs
        if run.spec.align.loss.negatives == "bank":
            self.bank_GD = F.normalize(target_FD[self.every], dim=1)
        self.names = labels_of(run.spec.backbone)
        weight_E = weight_of(self.align.task_weights, data)
        self.some = WeightedSampler(len(rows), weight_E[frames.index.episode[rows]])
        self.waited = 0.0  # seconds spent on getting tokens
        self.ahead = TokenPrefetcher(frames.gather)

    def draw(self) -> NDArray[np.int64]:
        """Return places (B,) among the training rows, each at most once."""
        return self.some.few(self.size)

    def loss(self, aligner: Aligner) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """Return the loss of a batch and its parts; cached, its gradients are added already."""
        config, places = self.align.loss, self.draw()
        batch = self.batch(places)
        if self.groups is not None and aligner.local is not None:
            groups = torch.from_numpy(self.groups.gather(self.rows[places]))
            groups_BHC = aligner.local.standardised(groups.to(self.target_FD.device))
            batch = attrs.evolve(batch, groups_BHC=groups_BHC)
        drawn = self.places(aligner)

        def embed(rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
            rows, windows = self.frames.made_of(rows, aligner.shape)
            return embedded(
                aligner,
                self.poorer(aligner, self.gather(rows, drawn)),
                pooled=bool(config.self_contrast),
                local=config.grouped,
                drawn=drawn,
                windows_LK=windows,
                precision=self.align.precision,
            )

        def total(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, dict[str, float | Tensor]]:
            loss, terms = objective(config, parts, batch, aligner.temperature)
            return loss, shown(terms, self.names, joined(parts)[1])

        parts = self.parts(self.rows[places])
        if config.negatives == "gradcache":
            return gradcache_backward(parts, embed, total)
        return total([embed(part) for part in parts])

    def gather(self, rows: NDArray[np.int64], drawn: TokenSample | None) -> list[Tensor]:
        """Return the tokens of some frames; the time that it takes is counted."""
        began = time.monotonic()
        tokens = self.ahead.get(rows, drawn)
        self.waited += time.monotonic() - began
        return tokens

    def fetch(self, aligner: Aligner) -> None:
        """Begin to fetch the batch that the seeded generator draws next, in its parts."""
        parts = self.parts(self.rows[self.draw()])
        drawn = self.places(aligner)
        twice = 2 if self.align.loss.negatives == "gradcache" else 1
        rows = [self.frames.made_of(part, aligner.shape)[0] for part in parts]
        self.ahead.expect([(each, drawn) for each in rows] * twice)

    def parts(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return a batch's rows in the parts that are embedded at once."""
        if self.align.loss.negatives != "gradcache":
            return [rows]
        return np.array_split(rows, -(-len(rows) // self.align.micro_batch))

    def batch(self, places: NDArray[np.int64]) -> LossInputs:
        """Return the targets of a batch, and which frames are too alike to be negatives."""
        at = torch.from_numpy(self.rows[places])
        target_BD = self.target_FD[at]
        unit_BD = F.normalize(target_BD, dim=1)
        alike = self.alike(at, unit_BD, at, unit_BD)
        if self.bank_GD is None:
            return LossInputs(target_BD=target_BD, alike=alike)
        return LossInputs(
            target_BD=target_BD,
            alike=alike,
            bank_GD=self.bank_GD,
            place_B=torch.from_numpy(places).to(target_BD.device),
            alike_bank=self.alike(at, unit_BD, self.every, self.bank_GD),
        )

    def alike(self, at: Tensor, unit_BD: Tensor, others: Tensor, unit_GD: Tensor) -> Alike:
        """Return what tells which of the other frames are too alike to be negatives of some.

        Their targets are given in length 1.
        """
        config = self.align.loss
        these, those = ((self.episode[rows], self.step[rows]) for rows in (at, others))

        def told(rows: slice) -> Tensor:
            mask = losses.alike_to(
                these[0][rows], these[1][rows], *those, config.exclude_within_steps
            )
            if config.exclude_above_cosine < 1:
                mask = mask | losses.similar(unit_BD[rows], unit_GD, config.exclude_above_cosine)
            return mask

        return told

    def places(self, aligner: Aligner) -> TokenSample | None:
        """Draw the places that a step looks at; None is all."""
        align = self.align
        return aligner.draw(align.tokens, align.replacement) if align.tokens else None

    def poorer(self, aligner: Aligner, tokens: list[Tensor]) -> list[Tensor]:
        """Return the tokens as the spec's augmentation leaves them."""
        if self.align.augment == Augment():
            return tokens
        adapters = [a for a in aligner.adapters if isinstance(a, Adapter)]
        means, stds = [a.mean for a in adapters], [a.std for a in adapters]
        return augment(tokens, means, stds, self.align.augment)

    def episodes(self) -> str:
        """Name the episodes of the batch that the seeded generator draws next."""
        numbers = np.unique(self.frames.index.episode[self.rows[self.draw()]])
        return ", ".join(self.frames.sources[i].name for i in numbers)
