"""Units of work are dealt out to shards by their number."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from rgb2act_core.plugins.arguments import shard
from rgb2act_core.system.shards import ALL, Shard


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_each_unit_belongs_to_exactly_one_shard(count: int) -> None:
    units = list(range(10))
    parts = [Shard(number + 1, count).part(units) for number in range(count)]
    assert sorted(unit for part in parts for unit in part) == units
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for number, part in enumerate(parts):
        assert part == [unit for unit in units if Shard(number + 1, count).owns(unit)]


def test_a_shard_is_read_and_printed() -> None:
    assert shard("3/16") == Shard(3, 16)
    assert str(shard("3/16")) == "3/16"
    assert shard("1/1") == ALL
    assert not ALL.divides


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "3", "3/", "/4", "a/b", "-1/4", "1/4/4", "1.0/4", ""]
)
def test_another_form_is_an_error(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"expected I/N, such as 3/16, with I from 1 to N"):
        shard(text)
