"""Compare the noise of alignment, taken from a table, with numbers that are drawn for each step.

The sizes are those of a batch of examples/quickstart.toml and of a frame's tokens of a large
backbone. The last part is a training step of the quickstart's aligner on random tokens, with its
augmentation. Times are CPU time of one thread, the median of alternating rounds.

    python benchmarks/bench_noise.py [--rounds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import attrs
import torch
from benchmark_aligner import CONFIG
from shared import compare, timed
from torch import Tensor

from rgb2act_core.alignment.aligner import Aligner
from rgb2act_core.alignment.augmentation import augment
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import Augment

NOISE = 0.1
STEPS = 30
SIZES = {  # frames, cameras, tokens, channels
    "EfficientNet-Lite0, strides 4 and 8": (32, 2, 256, 64),
    "a large ViT": (32, 3, 256, 1024),
}
QUICKSTART = attrs.evolve(
    CONFIG,
    backbones=("timm",),
    channels=(64,),
    grids=((24, 24),),
    teacher_dim=35,
    token_dim=32,
    embedding_dim=256,
    mlp_dim=512,
)

Noisy = Callable[[Tensor, torch.Generator], Tensor]


def drawn(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return tokens with noise that is drawn from the generator."""
    noise = torch.randn(tokens.shape, generator=generator)
    return noise.mul_(NOISE * torch.ones(tokens.shape[-1])).add_(tokens.float())


def from_table(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return tokens with the noise of alignment."""
    channels = tokens.shape[-1]
    means, stds = [torch.zeros(channels)], [torch.ones(channels)]
    return augment([tokens], means, stds, Augment(noise=NOISE), generator)[0]


def training_steps(tokens: Tensor, noisy: Noisy) -> Callable[[], object]:
    """Return training steps of the quickstart's aligner, which sample 256 positions."""
    torch.manual_seed(0)
    fusion = find(Kind.FUSION, "weighted")
    aligner = Aligner(QUICKSTART, fusion.build(fusion.tiny))
    optimizer = torch.optim.AdamW(aligner.parameters(), 1e-9, fused=True)
    generator, target = torch.Generator().manual_seed(0), torch.randn(len(tokens), 35)

    def step() -> None:
        sample = aligner.sample_cells(tokens.shape[2], False, generator)
        found = aligner([noisy(tokens, generator)], sample=sample)
        optimizer.zero_grad()
        (found.embedding - target).square().mean().backward()
        optimizer.step()

    return lambda: [step() for _ in range(STEPS)]


def main() -> None:
    """Print the time of noise and of training steps with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    both: dict[str, Noisy] = {"drawn": drawn, "from the table": from_table}
    for name, size in SIZES.items():
        tokens = torch.randn(size).half()
        work = {label: timed(partial(noisy, tokens, generator)) for label, noisy in both.items()}
        compare(f"Noise on tokens of {name}", "ms", work, rounds)
    tokens = torch.randn(SIZES["EfficientNet-Lite0, strides 4 and 8"]).half()
    work = {label: timed(training_steps(tokens, noisy), STEPS) for label, noisy in both.items()}
    compare("Training step of the quickstart's aligner", "ms", work, rounds)


if __name__ == "__main__":
    main()
