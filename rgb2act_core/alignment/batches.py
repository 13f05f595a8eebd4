"""What one step of alignment computes its loss from: tokens, targets and excluded negatives.

Shapes: B = batch, F = frames, G = training frames, L = windows, K = frames of a window, H = group
tokens of a point cloud, C = their width, D = embedding
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor

from ..features.prefetch import TokenPrefetcher, TokenRequest
from ..spec import Align, Augment
from ..training.randomness import Purpose, step_generator
from ..training.ranks import ALONE, Ranks
from ..training.row_draws import RowDraws, RowSet
from ..training.sampler import Rows
from . import losses
from .aligner import Aligner
from .augmentation import augment
from .gathering import gather_outputs
from .gradient_cache import gradcache_backward
from .inputs import AlignmentInputs
from .losses import Similarity
from .objective import LossTargets, TargetBank, embed, objective
from .outputs import AlignedOutputs
from .sampled_cells import cells_of_step

Metrics = Mapping[str, float | Tensor]


@attrs.frozen(eq=False, kw_only=True)
class _Part:
    """Rows of a batch that are embedded together."""

    number: int
    request: TokenRequest
    windows_LK: Tensor | None  # indices into the request's rows
    draws: Mapping[int, RowSet]  # this process's rows among all rows of the part, if it has others


class AlignmentBatches:
    """Compute the loss of a batch of training frames, given their rows and the step.

    Args:
        aligner: the module that is trained.
        config: the spec's ``[align]`` table.
        inputs: tokens of all frames, the training frames, and group tokens.
        target_FD: the target of each frame, in the aligner's space.
        seed: seed of the run.
        ranks: the processes that divide each batch.
    """

    def __init__(
        self,
        aligner: Aligner,
        config: Align,
        inputs: AlignmentInputs,
        target_FD: Tensor,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.aligner, self.config, self.target_FD, self.seed = aligner, config, target_FD, seed
        frames, train_rows = inputs.frames, inputs.train_rows
        self.frames, self.train_rows, self.groups = frames, train_rows, inputs.groups
        self.episode_F = torch.from_numpy(frames.index.episode).to(target_FD.device)
        self.step_F = torch.from_numpy(frames.index.step).to(target_FD.device)
        self.bank_GD = None  # unit length, as everything that is compared with it
        if config.loss.negatives == "bank":
            self.bank_GD = F.normalize(target_FD[torch.from_numpy(train_rows)], dim=1)
        self.waiting_seconds = 0.0  # spent waiting for tokens
        self.prefetcher = TokenPrefetcher(frames.gather)

    def loss(self, rows: Rows, step: int) -> tuple[Tensor, Metrics]:
        """Return the loss of a batch and its terms; with several processes, this one's share.

        With GradCache the loss is detached and its gradients have already been added.
        """
        config, parts = self.config.loss, self._parts(rows, step)
        ordered, counts = self.ranks.by_rank(self._split(rows))
        targets = self.targets(ordered, self.ranks.rank_slice(counts))

        def embed_part(part: _Part) -> AlignedOutputs:
            with RowDraws(part.draws) if part.draws else contextlib.nullcontext():
                return embed(
                    self.aligner,
                    self._tokens(part, step),
                    config,
                    sample=part.request.sample,
                    windows_LK=part.windows_LK,
                    precision=self.config.precision,
                )

        def total(embedded: Sequence[AlignedOutputs]) -> tuple[Tensor, Metrics]:
            own = AlignedOutputs.concatenate(embedded)
            outputs = gather_outputs(own, self.ranks, counts)
            value = objective(config, outputs, targets, self.aligner.temperature)
            weights_M = outputs.share(own.weights_M.detach())
            shares = zip(self.aligner.config.backbones, weights_M, strict=True)
            return value.loss, {**value.terms, **{f"weight/{name}": w for name, w in shares}}

        if config.negatives == "gradcache":
            return gradcache_backward(parts, embed_part, total)
        return total([embed_part(part) for part in parts])

    def prefetch(self, rows: Rows, step: int) -> None:
        """Begin to read the tokens of a later step in the background."""
        passes = 2 if self.config.loss.negatives == "gradcache" else 1
        self.prefetcher.submit(step, [part.request for part in self._parts(rows, step)] * passes)

    def check_divisible(self, size: int) -> None:
        """Raise UserError unless every process has a frame of each part of a batch of ``size``."""
        smallest = len(self._split(np.arange(size))[-1])
        place = "align.micro_batch" if smallest < size else "align.batch_size"
        self.ranks.check_batch(place, smallest)

    def describe(self, rows: Rows) -> str:
        """Return the names of a batch's episodes."""
        numbers = np.unique(self.frames.index.episode[rows])
        return ", ".join(self.frames.episodes[i].name for i in numbers)

    def targets(self, rows: Rows, own: slice | None = None) -> LossTargets:
        """Return the teacher's side of a batch; group tokens only of ``own`` rows."""
        at_B = torch.from_numpy(rows)
        target_BD = self.target_FD[at_B]
        unit_BD = F.normalize(target_BD, dim=1)
        return LossTargets(
            target_BD=target_BD,
            similar=self._similarity(at_B, unit_BD, at_B, unit_BD),
            bank=self._bank(rows, unit_BD),
            groups_NHC=self._groups(rows if own is None else rows[own]),
        )

    def _bank(self, rows: Rows, unit_BD: Tensor) -> TargetBank | None:
        if self.bank_GD is None:
            return None
        at_B, at_G = torch.from_numpy(rows), torch.from_numpy(self.train_rows)
        position_B = torch.from_numpy(np.searchsorted(self.train_rows, rows))
        return TargetBank(
            target_GD=self.bank_GD,
            position_B=position_B.to(unit_BD.device),
            similar=self._similarity(at_B, unit_BD, at_G, self.bank_GD),
        )

    def _groups(self, rows: Rows) -> Tensor | None:
        if self.groups is None or self.aligner.local is None:
            return None
        groups_BHC = torch.from_numpy(self.groups.gather(rows)).to(self.target_FD.device)
        return self.aligner.local.standardised(groups_BHC)

    def _similarity(
        self, rows_B: Tensor, unit_BD: Tensor, rows_G: Tensor, unit_GD: Tensor
    ) -> Similarity:
        """Return which of G frames are too similar to each of B frames to be negatives."""
        config = self.config.loss
        episode_B, step_B = self.episode_F[rows_B], self.step_F[rows_B]
        episode_G, step_G = self.episode_F[rows_G], self.step_F[rows_G]

        def similar(block: slice) -> Tensor:
            mask = losses.near_in_time(
                episode_B[block], step_B[block], episode_G, step_G, config.exclude_within_steps
            )
            if config.exclude_above_cosine < 1:
                limit = config.exclude_above_cosine
                mask = mask | losses.cosine_above(unit_BD[block], unit_GD, limit)
            return mask

        return similar

    def _split(self, rows: Rows) -> list[Rows]:
        """Return the rows of each part: micro-batches with GradCache, otherwise one."""
        count = 1
        if self.config.loss.negatives == "gradcache":
            count = -(-len(rows) // self.config.micro_batch)
        return np.array_split(rows, count)

    def _parts(self, rows: Rows, step: int) -> list[_Part]:
        """Return this process's rows of each part of a batch."""
        sample, parts = cells_of_step(self.aligner, self.config, self.seed, step), []
        for number, part_rows in enumerate(self._split(rows)):
            own = part_rows[self.ranks.own(len(part_rows))]
            needed, windows_LK = self.frames.required_rows(own, self.aligner.config)
            parts.append(
                _Part(
                    number=number,
                    request=TokenRequest(rows=needed, sample=sample),
                    windows_LK=windows_LK,
                    draws={} if self.ranks.alone else self._draws(part_rows, needed),
                )
            )
        return parts

    def _draws(self, part_rows: Rows, needed: Rows) -> Mapping[int, RowSet]:
        """Return the frames that this process embeds among those of all processes."""
        every, windows_LK = self.frames.required_rows(part_rows, self.aligner.config)
        if windows_LK is None:
            own = self.ranks.own(len(part_rows))
            positions = np.arange(own.start, own.stop)
        else:  # both are sorted, each row once
            positions = np.searchsorted(every, needed)
        return {len(needed): RowSet(len(every), torch.from_numpy(positions))}

    def _tokens(self, part: _Part, step: int) -> list[Tensor]:
        """Return the augmented tokens of a part, the same in every call."""
        started = time.monotonic()
        tokens = self.prefetcher.take(step, part.request)
        self.waiting_seconds += time.monotonic() - started
        if self.config.augment == Augment():
            return tokens
        adapters = self.aligner.adapters
        means, stds = ([a.get_buffer(name) for a in adapters] for name in ("mean", "std"))
        generator = step_generator(self.seed, step, Purpose.AUGMENTATION, part.number)
        return augment(tokens, means, stds, self.config.augment, generator)
