import pytest

from rgb2act_core.system.formatting import (
    format_bytes,
    format_duration,
    format_rate,
    number_duplicates,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_740_000_000, "1.74 GB"), (25_000, "25 kB"), (3e15, "3e+03 TB")],
)
def test_bytes(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (4.25, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (86400 * 2 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(250, "250 steps/s"), (4, "4.0 steps/s"), (0.001, "0.001 steps/s")]
)
def test_rates(rate, text):
    assert format_rate(rate, "steps") == text


def test_duplicate_names_are_numbered():
    assert number_duplicates(["a", "b", "a"]) == ("a-0", "b", "a-1")
    assert number_duplicates([]) == ()
