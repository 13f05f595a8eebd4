"""Arguments that commands share."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from rgb2act_core.plugins.arguments import add_json, add_run, count, port, seed_range


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (count, "1", 1),
        (count, "12", 12),
        (port, "0", 0),
        (port, "65535", 65535),
        (seed_range, "0:3", range(3)),
        (seed_range, "7:8", range(7, 8)),
    ],
)
def test_valid_text_is_converted(kind: Callable[[str], Any], text: str, value: Any) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (count, ["0", "-1", "1.5", "", "one"]),
        (port, ["65536", "-1", "http"]),
        (seed_range, ["3", "3:", ":3", "3:3", "4:3", "a:b", "-1:3"]),
    ],
)
def test_invalid_text_is_refused_with_its_value(
    kind: Callable[[str], Any], texts: list[str]
) -> None:
    for text in texts:
        with pytest.raises(ArgumentTypeError, match=f"expected .*, got {text!r}"):
            kind(text)


def test_run_is_named_with_the_folder_of_all_runs() -> None:
    parser = ArgumentParser()
    add_run(parser)
    add_json(parser)
    args = parser.parse_args(["lift"])
    assert (args.run, args.root, args.json) == ("lift", "runs", False)
    args = parser.parse_args(["lift", "--root", "r", "--json"])
    assert (args.run, args.root, args.json) == ("lift", "r", True)
