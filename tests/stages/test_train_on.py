"""``policy.train_on = "teacher"``: the head is trained on the teacher's embeddings.

It acts with the aligner's: the puppet environment has no point clouds while a policy acts.
"""

from __future__ import annotations

import json
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
from rgb2act_core.policy.samples import Samples, open_samples
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.conditions import CONDITIONS
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.keys import (
    align_folder,
    policy_folder,
    stored_embeddings,
    stored_features,
)
from rgb2act_core.stages.run import Run
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


def opened(spec: Path, root: Path) -> Samples:
    """Run a spec, and return the samples that its policy is trained on."""
    run = chain.run_pipeline(read_spec(spec), root, "train")
    recorded = read_run(run)
    tasks, data = open_dataset(recorded)
    policy = load_policy(policy_of(run), "cpu")
    return open_samples(
        tasks.run.spec,
        data,
        stored_features(tasks.run),
        stored_embeddings(tasks.run),
        tasks.run.spec.environments[0].build().info,
        policy.aligner,
        "cpu",
        root,
    )


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


def test_held_out_episodes_have_the_aligners_embeddings(spec_file: SpecFile, root: Path) -> None:
    policy = {"holdout": 0.3, "noise": 0.0, "steps": 2}
    usual = opened(spec_file("puppets", policy=policy), root)
    taught = opened(spec_file("puppets", policy=policy | {"train_on": "teacher"}), root)
    same = (usual.features_R.vector == taught.features_R.vector).all(1)
    assert len(taught.held)
    assert same[torch.from_numpy(taught.held)].all()
    assert not same[torch.from_numpy(taught.rows)].any()


def test_an_aligner_that_is_far_from_the_teacher_is_reported(
    spec_file: SpecFile, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "the aligner explains only"
    learns = {"lr": 0.02, "mlp_dim": 64, "token_dim": 16, "embedding_dim": 32, "holdout": 0.0}
    for steps, far in ((1, True), (600, False)):
        align = learns | {"steps": steps, "loss": {"mse": 1.0, "infonce": 0.0}}
        policy = {"holdout": 0.0, "train_on": "teacher"}
        spec = spec_file("puppets", align=align, policy=policy)
        folder = trained(spec, root)
        results = json.loads((folder / "stage.json").read_text())["results"]
        assert (results["teacher_r2"] < 0.9) is far
        assert (words in capsys.readouterr().err) is far


def test_windows_have_the_mean_embedding_of_their_frames(spec_file: SpecFile, root: Path) -> None:
    align = {"sample": "window", "window": 3, "stride": 1}
    policy = {"holdout": 0.0, "steps": 2, "train_on": "teacher"}
    spec = spec_file("puppets", align=align, policy=policy)
    samples = opened(spec, root)
    tasks, data = open_dataset(read_run(root / "puppets" / "2"))
    teacher_RD = torch.from_numpy(stored_embeddings(tasks.run).embeddings(data.demonstrations))
    aligner = load_policy(policy_of(root / "puppets" / "2"), "cpu").aligner
    assert aligner is not None
    target_RD = aligner.teacher_space(teacher_RD)
    expected = torch.stack(
        [target_RD[[max(0, t - age) for age in range(3)]].mean(0) for t in range(4)]
    )
    found = samples.features_R.vector[:4, : expected.shape[1]]
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "condition", [c.name for c in CONDITIONS.values() if c.aligner != "trained"]
)
def test_other_conditions_do_not_use_it(spec_file: SpecFile, root: Path, condition: str) -> None:
    keys = []
    for train_on in ("aligner", "teacher"):
        policy = {"condition": condition, "train_on": train_on}
        run = Run(spec=read_spec(spec_file("puppets", policy=policy)), root=root)
        _, data = open_dataset(read_run(root / "puppets" / "1"))
        keys.append(policy_folder(run, data, align_folder(run, data)).key)
    assert keys[0] == keys[1]


def test_a_given_aligner_needs_its_own_teacher(spec_file: SpecFile, root: Path) -> None:
    trained(given(spec_file), root, "act")
    with pytest.raises(UserError, match=r"teacher: missing, and policy.train_on = 'teacher' needs"):
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
