"""Compare an alignment training step with the seed system's network in plain PyTorch.

The seed system has four backbones of 1024, 2048, 768 and 2048 channels and samples K tokens of each
with replacement. Its layers are adapters C -> 2D -> D with layer norm, a softmax over backbone
weights, two encoder layers with eight heads, the mean over K, and a projector D -> 2D -> D. It
trains with symmetric InfoNCE, MSE and PyTorch's default AdamW, and reads the loss in each step. It
is compared with the Aligner, its objective, gradient clipping and the fused optimizer, at the same
sizes in these variants:

- the same layers over the distinct cells of such a sample: 721 distinct cells among 1024 draws from
  1369;
- the same layers over K = 256 cells, with and without attention between them;
- the layers of lift_distractors.toml (narrow adapters and keypoints) over all cells and over 256
  cells.

Times are CPU time of one thread, the median of alternating rounds.

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
from shared import compare, timed
from torch import Tensor, nn

from rgb2act_core.alignment.aligner import Aligner, AlignerConfig
from rgb2act_core.alignment.gathering import BatchOutputs
from rgb2act_core.alignment.objective import LossTargets, embed, objective
from rgb2act_core.features.frames import TokenFrames, load_into_memory
from rgb2act_core.features.reader import EpisodeArrays, FrameIndex
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import AlignLoss, Context

FRAMES = 8
TEMPERATURE = 0.07


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of the networks and of a batch."""

    channels: tuple[int, ...] = (1024, 2048, 768, 2048)
    dim: int = 1280
    grid: tuple[int, int] = (37, 37)
    tokens: int = 1024
    few: int = 256  # cells of the smaller samples
    narrow: int = 256  # embedding and token width of the layers of lift_distractors.toml
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
    """The seed system's student network in plain PyTorch."""

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
        index = torch.arange(sizes.tokens)[:, None]
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
        angle = index * frequency
        position = torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
        self.register_buffer("position", position)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: list[Tensor]) -> Tensor:
        adapted = torch.stack([a(t) for a, t in zip(self.adapters, tokens, strict=True)])
        fused = (adapted * self.logits.softmax(0)[:, None, None, None]).sum(0)
        encoded = self.context(self.dropout(fused + self.position))
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
        logits, own = student @ teacher.T / TEMPERATURE, torch.arange(sizes.batch)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        loss = loss + F.mse_loss(student, teacher)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def aligner_step(
    sizes: Sizes, frames: TokenFrames, target_FD: Tensor, cells: int, **changes: object
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
    aligner = Aligner(AlignerConfig(**fields | changes), weighted.build(weighted.tiny))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(aligner.parameters(), 3e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    loss = AlignLoss(infonce=1.0, mse=1.0, mse_on="normalised", temperature=TEMPERATURE)

    def step() -> None:
        rows = torch.randperm(FRAMES)[: sizes.batch]
        sample = aligner.sample_cells(cells, False, generator) if cells else None
        outputs = embed(aligner, frames.gather(rows.numpy(), sample), loss, sample=sample)
        none = torch.zeros(sizes.batch, sizes.batch, dtype=torch.bool).__getitem__
        targets = LossTargets(target_BD=target_FD[rows], similar=none)
        optimizer.zero_grad()
        objective(loss, BatchOutputs.alone(outputs), targets, None).loss.backward()
        nn.utils.clip_grad_norm_(aligner.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    parser.add_argument("--batch", type=int, default=4, help="frames per step")
    parser.add_argument("--quick", action="store_true", help="use small sizes")
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
    variants: dict[str, tuple[int, dict[str, object]]] = {
        f"aligner, same layers, {sizes.distinct} cells": (
            sizes.distinct,
            {"context": context},
        ),
        f"aligner, same layers, {sizes.few} cells": (sizes.few, {"context": context}),
        f"aligner, no context, {sizes.few} cells": (sizes.few, {}),
        f"aligner, narrow, keypoints, {sizes.cells} cells": (0, slim),
        f"aligner, narrow, keypoints, {sizes.few} cells": (sizes.few, slim),
    }
    work = {f"seed system, {sizes.tokens} tokens": timed(seed_step(sizes, frames, target_FD))}
    for name, (cells, changes) in variants.items():
        work[name] = timed(aligner_step(sizes, frames, target_FD, cells, **changes))
    compare(f"Training step, batch {sizes.batch}", "ms", work, options.rounds)


if __name__ == "__main__":
    main()
