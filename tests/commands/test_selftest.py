"""``rgb2act selftest``: the conformance checks on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Cli = Callable[..., Any]


def test_checks_are_listed_in_plain_text(cli: Cli) -> None:
    done = cli("selftest", "weighted", COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fusion weighted" in done.stdout
    assert done.stdout.count("passed") > 5
    assert "`" not in done.stdout


def test_name_of_several_kinds_needs_the_kind(cli: Cli) -> None:
    done = cli("selftest", "puppet")
    assert done.returncode == 2
    assert "puppet: components of several kinds match; add --kind backbone or " in done.stderr
    done = cli("selftest", "wieghted")
    assert done.stderr == "wieghted: no such component; did you mean 'weighted'?\n"
