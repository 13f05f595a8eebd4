"""Training steps of real stages do not read numbers from the device."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synchronisations import Counting

from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.training.learner import Learner


@pytest.mark.usefixtures("puppet")
def test_a_step_of_aligner_and_policy_reads_nothing_from_the_device(
    spec_file: Callable[..., Path],
    tmp_path: Path,
    puppets_done: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {
        "fusion": {"use": "moe", "k": 1},
        "loss": {
            "negatives": "bank",
            "sigmoid": 0.1,
            "cosine": 0.1,
            "self_contrast": 0.1,
            "entropy": 0.1,
            "learn_temperature": True,
        },
        "augment": {"token_dropout": 0.2, "noise": 0.1, "backbone_dropout": 0.2},
        "context": {"layers": 1, "heads": 2, "dropout": 0.1},
        "ema": 0.9,
    }
    policy = {"head": {"use": "diffusion"}, "precision": "bfloat16"}
    spec = read_spec(spec_file("puppets", align=options, policy=policy))
    counting, learn = Counting(), Learner.learn
    steps: list[Any] = []

    def counted(self: Learner[Any], *args: Any) -> Any:
        steps.append(args)
        with counting:
            return learn(self, *args)

    monkeypatch.setattr(Learner, "learn", counted)
    chain.run_pipeline(spec, shutil.copytree(puppets_done, tmp_path / "root"), "train")
    assert len(steps) == 24
    assert not +counting.found
