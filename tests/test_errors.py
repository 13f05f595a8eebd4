"""Errors as a part of other messages."""

from __future__ import annotations

import pytest

from rgb2act_core import UserError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such layer.\nat line 3"), "no such layer"),
        (ValueError("\n  no such layer\n"), "no such layer"),
        (KeyError("blocks"), "blocks"),
        (ValueError("'blocks' is missing in 'vit'"), "'blocks' is missing in 'vit'"),
        (ValueError("part \x1b[31m\0"), r"part \x1b[31m\x00"),
        (ValueError(), "ValueError"),
        (ValueError("\n"), "ValueError"),
        (ValueError("..."), "ValueError"),
        (UserError("seed: must be a number", "name: is missing"), "seed: must be a number"),
    ],
)
def test_first_line_is_never_empty_and_has_no_line_break(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_first_line_is_shortened() -> None:
    assert first_line(RuntimeError("x" * 500)) == "x" * 160
    assert first_line(RuntimeError("x" * 500), 20) == "x" * 20
