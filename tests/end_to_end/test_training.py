"""Conditions, baselines and options of alignment, trained end to end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.diagnosis import diagnose
from rgb2act_core.pipeline.status import check
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    "condition",
    [
        "aligned",
        "dual",
        "tokens",
        "finetuned",
        "single_backbone",
        "random_aligner",
        "end_to_end",
        "proprio_only",
        "oracle",
    ],
)
def test_condition_decides_the_inputs_of_the_policy(
    files: Files, spec_file: SpecFile, puppet_root: Path, condition: str
) -> None:
    from rgb2act_core.policy.saving import load_policy

    spec = read_spec(spec_file(policy={"condition": condition, "n_obs_steps": 3}))
    chain.run_pipeline(spec, puppet_root, "train")
    assert "align" not in files(puppet_root).reasons()
    policy = load_policy(files(puppet_root).folder("train"))
    expected = {"proprio_only": 0, "oracle": 2, "dual": 6 + 4}  # dual: teacher's and token width
    assert policy.config.features == expected.get(condition, 6)
    assert policy.config.head_shape.obs_dim == policy.config.features + 4
    assert policy.config.tokens == ((4, 4) if condition == "tokens" else None)
    assert (policy.aligner is None) == (condition in ("proprio_only", "oracle", "single_backbone"))


@pytest.mark.usefixtures("puppet")
def test_single_backbone_uses_the_named_backbone(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    keys = set()
    for name in ("", "puppet-0", "puppet-1"):
        policy = {"condition": "single_backbone", "backbone": name}
        chain.run_pipeline(
            read_spec(spec_file(policy=policy, backbone=backbones)), puppet_root, "train"
        )
        saved = json.loads((files(puppet_root).folder("train") / "policy.json").read_text())
        keys.add(saved["backbones"][0]["patch"])
    assert keys == {4, 8}
    policy = {"condition": "single_backbone", "backbone": "pupet-1"}
    with pytest.raises(UserError, match="unknown backbone 'pupet-1'; did you mean 'puppet-1'"):
        chain.run_pipeline(
            read_spec(spec_file(policy=policy, backbone=backbones)), puppet_root, "train"
        )


@pytest.mark.usefixtures("puppet")
def test_end_to_end_trains_the_aligner_and_random_aligner_does_not(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    from rgb2act_core.policy.saving import load_policy

    adapters = {}
    for condition in ("end_to_end", "random_aligner"):
        for steps in (1, 12):
            spec = spec_file(policy={"condition": condition, "steps": steps, "warmup": 0})
            chain.run_pipeline(read_spec(spec), puppet_root, "train")
            aligner = load_policy(files(puppet_root).folder("train")).aligner
            assert aligner is not None
            adapters[condition, steps] = torch.cat(
                [p.flatten() for p in aligner.adapters.parameters()]
            )
    assert torch.equal(adapters["random_aligner", 1], adapters["random_aligner", 12])
    assert not torch.equal(adapters["end_to_end", 1], adapters["end_to_end", 12])


@pytest.mark.usefixtures("puppet")
def test_finetuned_begins_with_the_trained_aligner_and_trains_it_further(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    from rgb2act_core.alignment.saving import load_aligner
    from rgb2act_core.policy.policy import Policy
    from rgb2act_core.policy.saving import load_policy

    def trained(condition: str, **options: Any) -> Policy:
        policy = {"condition": condition, "steps": 12, "warmup": 0} | options
        folder = chain.run_pipeline(read_spec(spec_file(policy=policy)), puppet_root, "train")
        assert "align" not in files(puppet_root).reasons()
        assert not verify(folder).problems
        return load_policy(files(puppet_root).folder("train"))

    def weights(policy: Policy) -> torch.Tensor:
        assert policy.aligner is not None
        return torch.nn.utils.parameters_to_vector(policy.aligner.parameters())

    frozen, still = trained("aligned"), trained("finetuned", lr=1e-9)
    assert torch.allclose(weights(still), weights(frozen), atol=1e-6)
    assert torch.allclose(still.feature_mean, frozen.feature_mean, atol=1e-6)
    assert torch.allclose(still.feature_std, frozen.feature_std, atol=1e-6)
    moved = trained("finetuned")
    assert not torch.allclose(weights(moved), weights(frozen), atol=1e-4)
    assert torch.equal(moved.feature_mean, still.feature_mean)
    assert not torch.equal(weights(trained("finetuned", noise=0.5)), weights(moved))
    kept = load_aligner(files(puppet_root).folder("align"))  # the policy has a copy
    assert torch.equal(
        torch.nn.utils.parameters_to_vector(kept.parameters()), weights(trained("aligned"))
    )


@pytest.mark.usefixtures("puppet")
def test_a_student_replaces_no_aligner_that_is_trained_further(
    spec_file: SpecFile, puppet_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill = {"student": {"use": "cnn"}, "steps": 2}
    spec = spec_file(policy={"condition": "finetuned"}, distill=distill)
    chain.run_pipeline(read_spec(spec), puppet_root, "train")
    assert "distill: not needed (condition = 'finetuned')" in capsys.readouterr().err
    with pytest.raises(UserError, match="encoder = 'student' replaces a trained and frozen"):
        read_spec(
            spec_file(policy={"condition": "finetuned", "encoder": "student"}, distill=distill)
        )


@pytest.mark.usefixtures("puppet")
def test_end_to_end_trains_on_sampled_positions_and_plans_with_all(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    from rgb2act_core.policy.saving import load_policy

    def trained(tokens: int, **options: Any) -> torch.Tensor:
        policy = {"condition": "end_to_end", "steps": 12, "warmup": 0}
        spec = spec_file(policy=policy, align={"tokens": tokens, **options})
        folder = chain.run_pipeline(read_spec(spec), puppet_root, "train")
        assert not verify(folder).problems
        weights = load_policy(files(puppet_root).folder("train")).parameters()
        return torch.cat([p.flatten() for p in weights])

    every = trained(0)
    positions = 4  # of the common grid
    assert torch.equal(trained(positions), every)
    assert not torch.allclose(trained(1), every, atol=1e-3)
    assert not torch.allclose(trained(9, replacement=True), every, atol=1e-3)
    with pytest.raises(UserError, match=r"align.tokens: 9 is more than the 4 tokens"):
        trained(9)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("condition", ["end_to_end", "finetuned"])
@pytest.mark.parametrize("options", [{}, {"sample": "window", "window": 3}], ids=["step", "window"])
def test_processes_that_train_the_aligner_divide_a_batch_on_the_same_positions(
    spec_file: SpecFile,
    files: Files,
    puppet_root: Path,
    tmp_path: Path,
    options: dict[str, Any],
    condition: str,
) -> None:
    from rgb2act_core.alignment.aligner import Aligner
    from rgb2act_core.pipeline.run_record import open_dataset, read_run
    from rgb2act_core.policy.dividing import shared_loss
    from rgb2act_core.policy.samples import open_samples
    from rgb2act_core.policy.saving import load_policy
    from rgb2act_core.stages.keys import stored_features
    from rgb2act_core.training.randomness import seed_modules
    from rgb2act_core.training.ranks import Ranks

    policy = {"condition": condition, "steps": 1}
    spec = read_spec(spec_file(policy=policy, align={"tokens": 2, **options}))
    tasks, data = open_dataset(read_run(chain.run_pipeline(spec, puppet_root, "train")))
    trained = load_policy(files(puppet_root).folder("train")).requires_grad_()
    aligner, run = trained.aligner, tasks.run
    assert isinstance(aligner, Aligner)
    args = (run.spec, data, stored_features(run), None, tasks.info, aligner, "cpu", tmp_path)
    samples, generator = open_samples(*args), torch.Generator().manual_seed(0)
    two, every = aligner.sample_cells(2, False, generator), None
    rows = samples.rows[:9]

    def shares(size: int, cells: Any) -> torch.Tensor:
        """Return the sum of the losses and gradients of ``size`` processes."""
        trained.zero_grad()
        total = torch.zeros(1)
        for rank in range(size):
            seed_modules(0, 5)
            loss = shared_loss(trained, samples, rows, 0.1, Ranks(rank, size), cells)
            loss.backward()
            total += loss.detach()
        return torch.cat(
            [total, *(p.grad.flatten() for p in aligner.parameters() if p.grad is not None)]
        )

    expected = shares(1, two)
    for size in (2, 3):
        assert torch.allclose(shares(size, two), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(shares(1, every), expected, rtol=1e-2, atol=1e-6)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("condition", ["end_to_end", "random_aligner", "proprio_only"])
def test_policy_without_a_trained_aligner_needs_no_clouds_and_no_teacher(
    files: Files, spec_file: SpecFile, tmp_path: Path, condition: str
) -> None:
    from rgb2act_core.policy.saving import load_policy

    changes: dict[str, Any] = {"align": None} if condition == "proprio_only" else {}
    spec = read_spec(
        spec_file(
            environment={"use": "puppet", "recorded": 3, "fault": "no clouds"},
            collect={"scenes": 0},
            teacher=None,
            policy={"condition": condition},
            **changes,
        )
    )
    assert check(spec, tmp_path).stages
    assert all(diagnostic.ok for _, diagnostic in diagnose(spec, tmp_path))
    folder = chain.run_pipeline(spec, tmp_path, "train")
    assert not [stage for stage in files(tmp_path).reasons() if "teacher" in stage]
    aligner = load_policy(files(tmp_path).folder("train")).aligner
    assert (aligner is None) == (condition == "proprio_only")
    assert aligner is None or aligner.config.teacher_dim == 4  # align.embedding_dim
    assert not verify(folder).problems


@pytest.mark.usefixtures("puppet")
def test_teacher_sets_the_width_of_an_aligner_without_its_embeddings(
    files: Files, spec_file: SpecFile, tmp_path: Path
) -> None:
    from rgb2act_core.policy.saving import load_policy

    environment = {"use": "puppet", "recorded": 3, "fault": "no clouds"}
    changes = {"environment": environment, "collect": {"scenes": 0}}
    spec = read_spec(spec_file(policy={"condition": "end_to_end", "steps": 1}, **changes))
    chain.run_pipeline(spec, tmp_path, "train")
    aligner = load_policy(files(tmp_path).folder("train")).aligner
    assert aligner is not None
    assert aligner.config.teacher_dim == 6


@pytest.mark.usefixtures("puppet")
@pytest.mark.slow
def test_baselines_are_trained_and_evaluated(
    files: Files, spec_file: SpecFile, puppet_root: Path
) -> None:
    wanted = ["proprio_only", "end_to_end"]
    spec = read_spec(spec_file(act={"baselines": wanted}))
    chain.run_pipeline(spec, puppet_root)
    assert list(files(puppet_root).reasons()) == [
        f"{s}/{c}" for c in wanted for s in ("train", "act")
    ]
    for condition in wanted:
        assert len(files(puppet_root).results(f"act/{condition}")["episodes"]) == 4
    chain.run_pipeline(spec, puppet_root)
    assert files(puppet_root).reasons() == {}


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("space", ["raw", "centred", "whitened"])
def test_teacher_space_is_saved_with_the_aligner(
    files: Files, spec_file: SpecFile, puppet_root: Path, space: str
) -> None:
    from rgb2act_core.alignment.saving import load_aligner

    chain.run_pipeline(read_spec(spec_file(align={"teacher_space": space})), puppet_root, "align")
    aligner = load_aligner(files(puppet_root).folder("align"))
    assert aligner.config.teacher_space == space
    assert (aligner.teacher_whitening is None) == (space != "whitened")
    statistics = list((puppet_root / "store/embeddings").glob("*/statistics-*.safetensors"))
    assert len(statistics) == (2 if space == "whitened" else 1)  # the finished run wrote the first


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    "align",
    [
        {"loss": {"sigmoid": 1.0, "infonce": 0.0, "cosine": 0.5, "mse_on": "normalised"}},
        {"loss": {"negatives": "gradcache", "learn_temperature": True}, "micro_batch": 3},
        {
            "loss": {
                "negatives": "bank",
                "exclude_above_cosine": 0.9,
                "entropy": 0.1,
                "self_contrast": 0.1,
            }
        },
        {"augment": {"token_dropout": 0.2, "noise": 0.1, "backbone_dropout": 0.2}, "ema": 0.9},
    ],
    ids=["sigmoid", "cached", "bank", "augment"],
)
def test_policies_with_options_of_alignment_pass_verify(
    files: Files, spec_file: SpecFile, puppet_root: Path, align: dict[str, Any]
) -> None:
    from rgb2act_core.pipeline.verify import verify

    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    spec = read_spec(spec_file(align=align, backbone=backbones))
    folder = chain.run_pipeline(spec, puppet_root, "train")
    assert verify(folder).problems == ()
    results = files(puppet_root).results("align")
    assert set(results["after"]) >= {"retrieval@1/episode", "uniformity", "train_r2"}


@pytest.mark.usefixtures("puppet")
def test_many_passes_over_the_frames_are_reported(
    files: Files, spec_file: SpecFile, puppet_root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = {"condition": "proprio_only", "steps": 4}
    for batch_size in (8, 2000):
        spec = read_spec(spec_file(policy=policy | {"batch_size": batch_size}))
        chain.run_pipeline(spec, puppet_root, "train")
        printed = capfd.readouterr().err
        frames = files(puppet_root).results("train")["frames"]
        line = f"each of the {frames} training frames {4 * 2000 / frames:.0f} times on average"
        assert (line in printed) == (batch_size == 2000)
        assert ("times on average" in printed) == (batch_size == 2000)
