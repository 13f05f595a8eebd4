"""``rgb2act selftest``: the conformance checks on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]
SpecFile = Callable[..., Path]


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


def test_each_config_of_a_spec_is_tested(cli: Cli, spec_file: SpecFile) -> None:
    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 2}]
    spec = spec_file("puppet", backbone=backbones)
    done = cli("selftest", "puppet", "--kind", "backbone", "--spec", spec, COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    for number in (1, 2):
        assert f"backbone puppet ({number} of 2), as in" in done.stdout
    assert "tiny" not in done.stdout
    assert "not tested" not in done.stdout


def test_a_spec_decides_what_is_tested(cli: Cli, spec_file: SpecFile) -> None:
    table = {"use": "puppet", "recorded": 2, "fault": "narrow"}
    spec = spec_file("puppet", environment=table)
    done = cli("selftest", "puppet", "--kind", "environment", "--spec", spec, COLUMNS="200")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "puppet-recorded_episodes_are_valid: recorded: joints are (" in done.stderr
    expected = "not tested: puppet-demonstrations_are_valid: the environment has no expert"
    assert expected in done.stdout.splitlines()
    assert done.stdout.count("│ not tested │") == 3


def test_components_that_the_spec_does_not_use_are_refused(cli: Cli, spec_file: SpecFile) -> None:
    spec = spec_file("puppet", log=[{"use": "tensorboard"}])
    done = cli("selftest", "pupet", "--spec", spec)
    assert done.returncode == 2
    assert done.stderr == f"{spec}: does not use 'pupet'; did you mean 'puppet'?\n"
    done = cli("selftest", "tensorboard", "--spec", spec)
    assert done.returncode == 2
    assert "a logger of a spec would record test values where its runs are" in done.stderr
