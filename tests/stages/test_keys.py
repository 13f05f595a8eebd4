"""The key of an aligner changes with what its weights depend on, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.data.dataset import Dataset
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages import keys
from rgb2act_core.stages.run import Run

pytestmark = pytest.mark.usefixtures("puppet")

SpecFile = Callable[..., Path]


def key(spec_file: SpecFile, root: Path, **align: Any) -> str:
    folder = keys.align_folder(
        Run(spec=read_spec(spec_file(align=align)), root=root), Dataset(demonstrations=())
    )
    assert folder is not None
    return folder.key


def test_an_omitted_floor_has_the_key_of_its_default(spec_file: SpecFile, tmp_path: Path) -> None:
    omitted = key(spec_file, tmp_path)
    assert omitted == key(spec_file, tmp_path, teacher_floor=1.0)
    assert omitted != key(spec_file, tmp_path, teacher_floor=0.1)
    white = {"teacher_space": "whitened"}
    assert key(spec_file, tmp_path, **white) == key(spec_file, tmp_path, **white, teacher_floor=0.1)


def test_other_numbers_of_noise_only_concern_aligners_with_noise(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> tuple[str, str]:
        return key(spec_file, tmp_path), key(spec_file, tmp_path, augment={"noise": 0.1})

    plain, noisy = both()
    monkeypatch.setattr(keys, "NOISE_VERSION", keys.NOISE_VERSION + 1)
    assert both()[0] == plain
    assert both()[1] != noisy
