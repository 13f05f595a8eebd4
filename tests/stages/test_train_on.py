"""``policy.train_on = "teacher"``: the head is trained on the teacher's embeddings.

It acts with the aligner's: the puppet environment has no point clouds while a policy acts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.run_record import open_dataset, read_run
from rgb2act_core.pipeline.status import check
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.keys import stored_embeddings
from rgb2act_core.store.stage_id import Stage, StageId

pytestmark = pytest.mark.usefixtures("puppet")
SpecFile = Callable[..., Path]
KEPT = {"keep": "aligned", "aligner": "puppets@1"}


@pytest.fixture
def root(puppets_done: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder with the run ``puppets@1``, whose aligner is trained."""
    return Path(shutil.copytree(puppets_done, tmp_path / "root"))


def trained(spec: Path, root: Path, until: str = "train") -> Path:
    """Run a spec, and return the folder of its policy."""
    return policy_of(chain.run_pipeline(read_spec(spec), root, until))


def policy_of(run: Path) -> Path:
    """Return the folder of a run's policy."""
    return run.parents[1] / read_run(run).stages[StageId(Stage.TRAIN)].path


def given(spec_file: SpecFile, **changes: Any) -> Path:
    """Write the spec of a run that uses the aligner of ``puppets@1``."""
    options: dict[str, Any] = {"name": "given", "extract": KEPT, "policy": {"train_on": "teacher"}}
    return spec_file("puppets", **(options | {"collect": {"episodes": 4, "scenes": 0}} | changes))


@pytest.mark.parametrize("condition", ["aligned", "dual"])
def test_the_teachers_embeddings_replace_those_of_the_aligner_in_training(
    spec_file: SpecFile, root: Path, condition: str
) -> None:
    policy = {"condition": condition, "holdout": 0.0, "noise": 0.0}
    usual = load_policy(trained(spec_file("puppets", policy=policy), root), "cpu")
    spec = spec_file("puppets", policy=policy | {"train_on": "teacher"})
    run = chain.run_pipeline(read_spec(spec), root)
    taught = load_policy(policy_of(run), "cpu")

    tasks, data = open_dataset(read_run(run))
    teacher_RD = torch.from_numpy(stored_embeddings(tasks.run).embeddings(data.demonstrations))
    assert taught.aligner is not None
    expected = taught.aligner.teacher_space(teacher_RD).mean(0)
    width = len(expected)
    assert torch.allclose(taught.feature_mean[:width], expected, atol=1e-5)
    assert not torch.allclose(usual.feature_mean[:width], expected, atol=1e-3)
    assert torch.equal(taught.feature_mean[width:], usual.feature_mean[width:])
    assert taught.feature_std[:width].min() >= 1  # standardised already, so not amplified again
    assert usual.feature_std[:width].min() < 1


def test_other_conditions_do_not_use_it(spec_file: SpecFile, root: Path) -> None:
    for condition in ("random_aligner", "end_to_end", "finetuned", "proprio_only"):
        plain = spec_file("puppets", policy={"condition": condition, "steps": 2})
        policy = trained(plain, root)
        other = {"condition": condition, "steps": 2, "train_on": "teacher"}
        assert trained(spec_file("puppets", policy=other), root) == policy


def test_a_given_aligner_needs_its_own_teacher(spec_file: SpecFile, root: Path) -> None:
    trained(given(spec_file), root, "act")
    with pytest.raises(UserError, match=r"teacher: missing, and 'aligned' needs it"):
        read_spec(given(spec_file, teacher=None))
    other = read_spec(given(spec_file, teacher={"use": "cloudstats"}))
    for begin in (check, chain.run_pipeline):
        with pytest.raises(UserError, match=r"trained with other settings \(teacher"):
            begin(other, root)


def test_a_head_that_is_trained_on_a_student_is_refused(spec_file: SpecFile) -> None:
    policy = {"encoder": "student", "train_on": "teacher"}
    student = {"use": "puppet"}
    for head, words in (
        ("trained", "'teacher' contradicts distill.head = 'trained'"),
        ("kept", ""),
    ):
        spec = spec_file("puppets", policy=policy, distill={"student": student, "head": head})
        if not words:
            assert read_spec(spec).policy.trains_on_teacher
            continue
        with pytest.raises(UserError, match=words):
            read_spec(spec)
