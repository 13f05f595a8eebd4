"""Compare a training step of alignment with the seed system's graph in plain PyTorch, same sizes.

The seed system has four backbones of 1024, 2048, 768 and 2048 channels; K tokens of each, sampled
with replacement; adapters C -> 2D -> D with layer norm; one softmax of weights; two encoder layers
of eight heads; the mean over K; a projector D -> 2D -> D; symmetric InfoNCE and MSE; PyTorch's
default AdamW; and prints the loss in each step. Ours is the Aligner with its objective, gradient
clipping and the fused optimiser, in these variants:

- the same layers over the distinct cells of such a sample: 721 of 1024 from 1369;
- the same layers over K = 256 cells, with and without attention among them;
- the quickstart's variant: narrow adapters and keypoints, over all cells, and over 256.

CPU time of one thread, the median of alternating rounds.

    python benchmarks/bench_align_seed.py [--rounds 3] [--batch 4] [--quick]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import attrs
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from side_by_side import compare, timed
from torch import Tensor, nn

from rgb2act_core.alignment.aligner import Aligner, AlignerConfig
from rgb2act_core.alignment.objective import LossTargets, embed, objective
from rgb2act_core.features.frames import TokenFrames, load_into_memory
from rgb2act_core.features.reader import EpisodeArrays, FrameIndex
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import AlignLoss, Context

FRAMES = 8
TAU = 0.07


@attrs.frozen(kw_only=True)
class Sizes:
    channels: tuple[int, ...] = (1024, 2048, 768, 2048)
    dim: int = 1280
    grid: tuple[int, int] = (37, 37)
    tokens: int = 1024
    few: int = 256
    narrow: int = 256
    batch: int = 4

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    @property
    def distinct(self) -> int:
        """Return the expected number of distinct cells in a sample with replacement."""
        return round(self.cells * (1 - (1 - 1 / self.cells) ** self.tokens))


QUICK = Sizes(channels=(8, 16, 6, 16), dim=32, grid=(6, 6), tokens=32, few=8, narrow=8)


class Seed(nn.Module):
    """The seed system's student, written as a PyTorch user would."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.adapters = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels, 2 * dim),
                nn.GELU(),
                nn.Linear(2 * dim, dim),
                nn.LayerNorm(dim),
            )
            for channels in sizes.channels
        )
        self.logits = nn.Parameter(torch.zeros(len(sizes.channels)))
        layer = nn.TransformerEncoderLayer(dim, 8, 4 * dim, dropout=0.1, batch_first=True)
        self.context = nn.TransformerEncoder(layer, 2)
        self.projector = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim), nn.LayerNorm(dim)
        )
        at = torch.arange(sizes.tokens)[:, None]
        wave = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
        order = torch.stack([(at * wave).sin(), (at * wave).cos()], 2).flatten(1)
        self.register_buffer("order", order)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: list[Tensor]) -> Tensor:
        adapted = torch.stack([a(t) for a, t in zip(self.adapters, tokens, strict=True)])
        fused = (adapted * self.logits.softmax(0)[:, None, None, None]).sum(0)
        encoded = self.context(self.dropout(fused + self.order))
        projected: Tensor = self.projector(encoded.mean(1))
        return projected


def seed_step(sizes: Sizes, frames: TokenFrames, target_FD: Tensor) -> Callable[[], object]:
    model = Seed(sizes)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)

    def step() -> float:
        rows = torch.randperm(FRAMES)[: sizes.batch]
        tokens = []
        for table in frames.resident or ():
            sampled = [table[i, 0][torch.randint(sizes.cells, (sizes.tokens,))] for i in rows]
            tokens.append(torch.stack(sampled).float())
        student, teacher = F.normalize(model(tokens), dim=1), F.normalize(target_FD[rows], dim=1)
        logits, own = student @ teacher.T / TAU, torch.arange(sizes.batch)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        loss = loss + F.mse_loss(student, teacher)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def our_step(
    sizes: Sizes, frames: TokenFrames, target_FD: Tensor, cells: int, **form: object
) -> Callable[[], object]:
    fields: dict[str, object] = {
        "backbones": tuple("abcd"),
        "channels": sizes.channels,
        "grids": (sizes.grid,) * 4,
        "cameras": 1,
        "teacher_dim": sizes.dim,
        "teacher_space": "standardised",
        "embedding_dim": sizes.dim,
        "token_dim": sizes.dim,
        "mlp_dim": 2 * sizes.dim,
        "pool": "mean",
        "keypoint_maps": 16,
        "keypoint_values": 4,
        "temperature": None,
        "adapter": "wide",
    }
    weighted = find(Kind.FUSION, "weighted")
    aligner = Aligner(AlignerConfig(**fields | form), weighted.build(weighted.tiny))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(aligner.parameters(), 3e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    loss = AlignLoss(infonce=1.0, mse=1.0, mse_on="normalised", temperature=TAU)

    def step() -> None:
        rows = torch.randperm(FRAMES)[: sizes.batch]
        sample = aligner.sample_cells(cells, False, generator) if cells else None
        outputs = embed(aligner, frames.gather(rows.numpy(), sample), loss, sample=sample)
        none = torch.zeros(sizes.batch, sizes.batch, dtype=torch.bool).__getitem__
        targets = LossTargets(target_BD=target_FD[rows], similar=none)
        optimizer.zero_grad()
        objective(loss, outputs, targets, None).loss.backward()
        nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = attrs.evolve(QUICK if options.quick else Sizes(), batch=options.batch)
    rng = np.random.default_rng(0)
    shapes = [(FRAMES, 1, sizes.cells, channels) for channels in sizes.channels]
    tables = [EpisodeArrays([rng.random(shape, np.float32).astype(np.float16)]) for shape in shapes]
    frames = load_into_memory(
        TokenFrames(tokens=tables, index=FrameIndex.of([FRAMES]), episodes=[], device="cpu"),
        "tokens",
    )
    target_FD = torch.randn(FRAMES, sizes.dim)
    context = Context(layers=2, heads=8)
    slim = {"adapter": "narrow", "token_dim": sizes.narrow, "mlp_dim": 2 * sizes.narrow}
    slim |= {"embedding_dim": sizes.narrow, "pool": "keypoints"}
    forms: dict[str, tuple[int, dict[str, object]]] = {
        f"ours, the same layers, {sizes.distinct} cells": (
            sizes.distinct,
            {"context": context},
        ),
        f"ours, the same layers, {sizes.few} cells": (sizes.few, {"context": context}),
        f"ours, without context, {sizes.few} cells": (sizes.few, {}),
        f"ours, narrow, keypoints, {sizes.cells} cells": (0, slim),
        f"ours, narrow, keypoints, {sizes.few} cells": (sizes.few, slim),
    }
    work = {f"the seed's graph, {sizes.tokens} tokens": timed(seed_step(sizes, frames, target_FD))}
    for name, (cells, form) in forms.items():
        work[name] = timed(our_step(sizes, frames, target_FD, cells, **form))
    compare(f"A training step, batch {sizes.batch}", "ms", work, options.rounds)


if __name__ == "__main__":
    main()
