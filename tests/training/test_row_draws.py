"""A process draws for its rows what a single process draws for all rows."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 the field's usual name
from torch import Tensor, nn

from rgb2act_core.training.row_draws import RowDraws, RowSet

ROWS = 7
DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "randn": lambda x: torch.randn(x.shape),
    "randn of numbers": lambda x: torch.randn(len(x), 3),
    "rand": lambda x: torch.rand(*x.shape),
    "rand of a generator": lambda x: torch.rand(
        x.shape, generator=torch.Generator().manual_seed(4)
    ),
    "randint": lambda x: torch.randint(100, (len(x),)),
    "randint with bounds": lambda x: torch.randint(5, 100, size=(len(x),)),
    "normal_": lambda x: torch.empty_like(x).normal_(1.0, 2.0),
    "uniform_": lambda x: torch.empty_like(x).uniform_(),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "dropout": lambda x: F.dropout(x, 0.5),
    "module": lambda x: nn.Dropout(0.3)(x),
    "several": lambda x: torch.randn_like(x) + torch.rand(5).sum() + F.dropout(x, 0.1),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("own", [slice(0, 3), slice(3, 7), slice(6, 7)])
def test_own_rows_of_a_draw_are_those_of_a_draw_of_all_rows(
    draw: Callable[[Tensor], Tensor], own: slice
) -> None:
    values = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    expected, state = draw(values), torch.get_rng_state()
    torch.manual_seed(1)
    positions = torch.arange(own.start, own.stop)
    with RowDraws({len(positions): RowSet(ROWS, positions)}):
        found = draw(values[own])
    assert torch.allclose(found, expected[own])  # dropout may round in another order
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_of_other_sizes_and_eval_mode_are_left_as_they_are() -> None:
    with RowDraws({3: RowSet(7, torch.arange(3))}):
        torch.manual_seed(1)
        found = torch.randn(4, 3)
        assert torch.equal(nn.Dropout(0.5).eval()(found[:3]), found[:3])
    torch.manual_seed(1)
    assert torch.equal(found, torch.randn(4, 3))
