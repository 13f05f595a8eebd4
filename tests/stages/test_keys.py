"""The key of a stage changes with what its weights depend on, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rgb2act_core.data.dataset import Dataset
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.run_record import read_run
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages import keys
from rgb2act_core.stages.run import Run
from rgb2act_core.store.stage_id import Stage, StageId

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


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["end_to_end", "random_aligner"])
def test_an_aligner_without_alignment_does_not_depend_on_how_alignment_trains(
    spec_file: SpecFile, tmp_path: Path, condition: str
) -> None:
    other = {
        "steps": 5,
        "batch_size": 6,
        "micro_batch": 2,
        "precision": "bfloat16",
        "ema": 0.5,
        "lr": 0.5,
        "weight_decay": 0.5,
        "warmup": 1,
        "grad_clip": 0.5,
        "task_weights": {"puppet": 2.0},
        "augment": {"noise": 0.3},
    }
    assert set(other) == set(keys.ALIGNMENT_ONLY)

    def policy(root: str, **align: Any) -> tuple[str, dict[str, Tensor]]:
        spec = read_spec(spec_file(policy={"condition": condition}, align=align))
        run = chain.run_pipeline(spec, tmp_path / root, "train")
        folder = tmp_path / root / read_run(run).stages[StageId(Stage.TRAIN)].path
        return folder.name, load_policy(folder, "cpu").state_dict()

    name, weights = policy("usual")
    same, trained_apart = policy("other", **other, loss={"negatives": "gradcache"})
    assert same == name
    assert all(torch.equal(weights[each], trained_apart[each]) for each in weights)
    assert policy("usual", mlp_dim=8)[0] != name
    assert policy("usual", loss={"learn_temperature": True})[0] != name
