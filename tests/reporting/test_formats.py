"""Numbers and specs as text."""

from __future__ import annotations

import pytest

from rgb2act_core.reporting.formats import duration, number, percent, toml


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0123456, "0.01235"), (-1234.5, "-1,234.50"), (1234, "1,234"), (0, "0")],
)
def test_numbers_have_few_digits_and_counts_no_decimals(value: float | None, text: str) -> None:
    assert number(value) == text


def test_unknown_duration_is_a_dash() -> None:
    assert duration(None) == "-"
    assert duration(75.0) == "1 min 15 s"


def test_share_is_in_percent() -> None:
    assert percent(0.125) == "12 %"


def test_toml_leaves_none_out_at_every_level() -> None:
    assert toml({"a": None, "b": {"c": None, "d": [{"e": None, "f": 1}]}}) == (
        "[b]\nd = [\n    { f = 1 },\n]\n"
    )
