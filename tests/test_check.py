"""What ``check`` says before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core import stages
from rgb2act_core.check import check
from rgb2act_core.errors import UserError
from rgb2act_core.reading import read_spec

SpecFile = Callable[..., Path]
ALONE = {"use": "moe", "k": 2}


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"align": {"fusion": ALONE}}, "moe: k is 2, but the run has 1 backbone"),
        (
            {"policy": {"proprio": False}, "act": {"baselines": ["blind"]}},
            "act.baselines: 'blind' sees nothing at all",
        ),
        ({"compute": {"device": "cuda:99"}}, "compute.device: 'cuda:99' is not there"),
        ({"act": {"first_seed": 100_001}}, "act.first_seed: 100001 meets the seeds of the demon"),
        ({"act": {"first_seed": 500_001}}, "act.first_seed: 500001 meets the seeds of the scenes"),
    ],
    ids=[
        "more experts than backbones",
        "blind baseline without joints",
        "no such device",
        "seen demonstrations",
        "seen scenes",
    ],
)
def test_what_cannot_be_is_an_error_before_any_work(
    spec_file: SpecFile, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    spec = read_spec(spec_file(**changes))
    root = tmp_path / "root"
    for begin in (check, stages.run):
        with pytest.raises(UserError, match=words):
            begin(spec, root)
    assert not root.exists()
