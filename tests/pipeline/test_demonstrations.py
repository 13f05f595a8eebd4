"""Demonstrations of a run, of a spec and of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgb2act_core import UserError, open_demonstrations

ROBOTWIN = Path(__file__).parents[2] / "plugins/robotwin/rgb2act_robotwin/tiny"


def test_a_run_and_its_spec_have_the_same_demonstrations(
    smoke_done: Path, spec_file: Callable[..., Path]
) -> None:
    of_run = open_demonstrations("smoke", smoke_done)
    of_spec = open_demonstrations(spec_file("smoke"), smoke_done)
    assert of_run.info == of_spec.info
    assert len(of_run) == len(of_spec) > 0
    for one, two in zip(of_run, of_spec, strict=True):
        assert one.digest == two.digest
        assert one.actions is not None
        assert np.asarray(one.rgb[0]).shape[0] == len(of_run.info.cameras)


def test_a_spec_without_recorded_demonstrations_names_the_command(
    spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="not recorded yet; run rgb2act collect"):
        open_demonstrations(spec_file("smoke"), tmp_path / "empty")


def test_a_data_set_is_read_by_the_plugin_that_knows_it(tmp_path: Path) -> None:
    found: Any = open_demonstrations(ROBOTWIN, tmp_path)
    assert len(list(found)) == 2
    assert not found.info.demonstrates


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run, spec or data set"):
        open_demonstrations(tmp_path, tmp_path)
    with pytest.raises(UserError, match="no such run"):
        open_demonstrations("nothing", tmp_path)
