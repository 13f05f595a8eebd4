"""How processes divide a batch; ``tests/alignment/test_gathering.py`` tests their sums."""

import numpy as np
import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.training.ranks import ALONE, Ranks


@pytest.mark.parametrize("total", [3, 7, 8, 64])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_slices_cover_all_rows_and_differ_by_at_most_one(total: int, size: int) -> None:
    slices = [Ranks(rank, size).own(total) for rank in range(size)]
    rows = [row for own in slices for row in range(total)[own]]
    assert rows == list(range(total))
    lengths = [own.stop - own.start for own in slices]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == Ranks(0, size).counts(total)


def test_rows_are_in_order_of_rank_and_a_slice_of_each_part() -> None:
    parts = [np.arange(5), np.arange(10, 14)]
    rows, counts = Ranks(0, 2).by_rank(parts)
    assert rows.tolist() == [0, 1, 2, 10, 11, 3, 4, 12, 13]
    assert counts == [5, 4]
    assert rows[Ranks(1, 2).rank_slice(counts)].tolist() == [3, 4, 12, 13]
    assert ALONE.by_rank(parts)[0].tolist() == [*range(5), *range(10, 14)]


def test_one_process_sums_and_gathers_nothing() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    assert ALONE.sum_gradients([parameter], True, False) == [True, False]
    assert parameter.grad.tolist() == [1.0, 1.0]
    values = torch.ones(3)
    assert ALONE.gather(values, [3]) is values
    assert ALONE.sum(values) is values


def test_a_batch_with_fewer_rows_than_processes_is_an_error() -> None:
    Ranks(0, 4).check_batch("policy.batch_size", 4)
    with pytest.raises(
        UserError, match=r"policy.batch_size: a batch of 3 cannot be divided among 4"
    ):
        Ranks(0, 4).check_batch("policy.batch_size", 3)
