"""Batches are a pure function of the seed and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.training.sampler import BatchSampler

ROWS = np.arange(100, 130)


def sampler(replacement: bool, **changes: Any) -> BatchSampler:
    options: dict[str, Any] = {"rows": ROWS, "batch_size": 8, "seed": 3}
    return BatchSampler(**(options | changes), replacement=replacement)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("weights", [None, np.linspace(1, 2, 30)])
def test_a_batch_depends_on_seed_and_step_only(replacement: bool, weights: Any) -> None:
    first = sampler(replacement, weights=weights)
    steps = [first.indices(step).tolist() for step in range(4)]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = sampler(replacement, weights=weights)
    assert [again.indices(step).tolist() for step in (3, 2, 1, 0)] == steps[::-1]
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is not used
    assert len({tuple(batch) for batch in steps}) == 4
    assert sampler(replacement, weights=weights, seed=4).indices(0).tolist() != steps[0]


def test_without_replacement_each_row_occurs_once() -> None:
    batch = sampler(False, batch_size=100).indices(0)
    assert sorted(batch) == ROWS.tolist()
    assert len(sampler(True, batch_size=100).indices(0)) == 100


def test_equal_weights_are_no_weights() -> None:
    for replacement in (True, False):
        plain, equal = sampler(replacement), sampler(replacement, weights=np.full(30, 2.0))
        assert plain.indices(5).tolist() == equal.indices(5).tolist()


@pytest.mark.parametrize("replacement", [True, False])
def test_a_row_of_twice_the_weight_is_drawn_twice_as_often(replacement: bool) -> None:
    weights = np.array([1.0] * 20 + [2.0] * 10)
    draw = sampler(replacement, batch_size=2, weights=weights)
    counts = np.zeros(30)
    for step in range(3000):
        batch = draw.indices(step) - 100
        assert replacement or len(set(batch)) == 2
        np.add.at(counts, batch, 1)
    light, heavy = counts[:20].mean(), counts[20:].mean()
    assert heavy / light == pytest.approx(2, rel=0.07)  # 6000 draws: standard deviation 0.03
    assert counts[:20].std() / light < 0.15


def test_every_row_with_a_weight_can_be_sampled() -> None:
    weights = np.array([1.0, 1e-6, 1e6, 2, 3])
    draw = BatchSampler(np.arange(5), 5, 0, replacement=False, weights=weights)
    assert sorted(draw.indices(0)) == list(range(5))
