"""Cells are sampled once for all backbones, and a sampled token is the token of its cell."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_aligner import CONFIG, build_nonzero, tokens

from rgb2act_core.alignment.aligner import Aligned, Aligner
from rgb2act_core.features import token_grids
from rgb2act_core.features.reader import DequantizedTokens, EpisodeArrays
from rgb2act_core.features.token_grids import TokenSample
from rgb2act_core.spec import Context

CONTEXT = Context(layers=2, heads=3, hidden=2)

# float32 tokens and embeddings near 1 of some ten layers, summed over at most 50 terms in another
# order, each rounding 6e-8
ROUNDING = 1e-4
GRIDS = [((4, 6), (4, 6)), ((2, 3), (4, 6)), ((3, 5), (7, 6)), ((1, 1), (4, 6)), ((5, 2), (3, 9))]


def needed(part: list[torch.Tensor], sample: TokenSample) -> list[torch.Tensor]:
    return [
        tensor[:, :, each.needed] for tensor, each in zip(part, sample.interpolations, strict=True)
    ]


def sample_at(aligner: Aligner, cells: torch.Tensor) -> TokenSample:
    config = aligner.config
    return TokenSample(
        cells=cells,
        interpolations=tuple(
            token_grids.interpolation_at(cells, grid, config.grid) for grid in config.grids
        ),
    )


@pytest.mark.parametrize(("grid", "target"), GRIDS)
def test_a_sampled_token_is_that_of_the_resampled_grid(grid: Any, target: Any) -> None:
    part = torch.randn(2, 3, math.prod(grid), 4)
    at = torch.randperm(math.prod(target))[:10]
    interpolation = token_grids.interpolation_at(at, grid, target)
    found = interpolation(part[:, :, interpolation.needed])
    # both sum four products of values below 10 in float32
    assert torch.allclose(found, token_grids.resample(part, grid, target)[:, :, at], atol=1e-5)


def test_cells_repeat_only_with_replacement() -> None:
    generator = torch.Generator().manual_seed(0)
    every = token_grids.sample_cells([(4, 6)], (4, 6), 24, False, generator)
    assert every.cells.tolist() == list(range(24))
    again = token_grids.sample_cells([(4, 6)], (4, 6), 100, True, generator)
    assert len(again.cells) == 100
    assert set(again.cells.tolist()) <= set(range(24))


def test_samples_follow_the_generator() -> None:
    found = []
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        found.append(token_grids.sample_cells([(4, 6)], (4, 6), 5, False, generator).cells.tolist())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("pool", ["mean", "attention", "keypoints"])
def test_all_cells_in_any_order_give_all_tokens(pool: Any) -> None:
    """Positions follow the cells: order changes nothing, and a shifted cell does."""
    aligner, part = build_nonzero(pool=pool, context=CONTEXT), tokens(3)
    full = aligner(part)
    order = torch.randperm(24)
    found = look(aligner, part, order)
    assert torch.allclose(found.embedding, full.embedding, atol=ROUNDING)
    assert torch.allclose(found.tokens, full.tokens[:, :, order], atol=ROUNDING)
    wrong = sample_at(aligner, order)
    elsewhere = TokenSample(cells=order.roll(1), interpolations=wrong.interpolations)
    moved = aligner(needed(part, elsewhere), sample=elsewhere)
    assert not torch.allclose(moved.tokens, found.tokens, atol=10 * ROUNDING)


def look(aligner: Aligner, part: list[torch.Tensor], at: torch.Tensor) -> Aligned:
    sample = sample_at(aligner, at)
    found = aligner(needed(part, sample), sample=sample)
    assert isinstance(found, Aligned)
    return found


def test_without_context_a_token_is_the_same_among_few() -> None:
    aligner, part = build_nonzero(), tokens(3)
    at = torch.tensor([3, 20, 7])
    assert torch.allclose(
        look(aligner, part, at).tokens, aligner(part).tokens[:, :, at], atol=ROUNDING
    )


def test_the_keypoint_of_a_single_cell_is_its_position() -> None:
    aligner = build_nonzero()
    pool = aligner.pool
    tokens_BVNW = torch.randn(1, CONFIG.cameras, 1, CONFIG.token_dim)
    found = pool(tokens_BVNW, torch.tensor([7])).reshape(CONFIG.cameras, CONFIG.keypoint_maps, -1)
    row, column = -1 + 1 / 4 + 2 * (7 // 6) / 4, -1 + 1 / 6 + 2 * (7 % 6) / 6
    assert torch.allclose(found[..., 0], torch.tensor(row), atol=1e-6)  # float32 below 1
    assert torch.allclose(found[..., 1], torch.tensor(column), atol=1e-6)


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_only_needed_tokens_are_read(form: str) -> None:
    rng = np.random.default_rng(0)
    parts: list[Any] = [rng.normal(size=(t, 2, 9, 4)).astype(np.float16) for t in (3, 5)]
    if form == "int8":
        parts = [
            DequantizedTokens(
                rng.integers(-127, 128, part.shape, np.int8),
                rng.uniform(0.1, 1, part.shape[:3]).astype(np.float32),
            )
            for part in parts
        ]
    table = EpisodeArrays(parts)
    rows, some = np.array([6, 0, 2]), np.array([8, 1, 1])
    np.testing.assert_array_equal(table.gather(rows, some), table.gather(rows)[:, :, some])
