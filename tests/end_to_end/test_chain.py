"""The chain from a spec to a success rate: what runs, what is cached, and that it is the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
SpecFile = Callable[..., Path]
STAGES = ["collect", "extract/puppet", "teacher/puppet", "align", "train", "act"]


def ran(root: Path, name: str = "puppet") -> dict[str, str]:
    """Return the reason for which each stage ran; those that were cached are left out."""
    record = json.loads((root / name / "run.json").read_text())
    return {stage["stage"]: stage["reason"] for stage in record["stages"] if not stage["cached"]}


def stage_path(root: Path, stage: str, name: str = "puppet") -> Path:
    record = json.loads((root / name / "run.json").read_text())
    (found,) = [s["path"] for s in record["stages"] if s["stage"] == stage]
    return root / str(found)


def weights(root: Path, name: str = "puppet", stage: str = "train") -> bytes:
    return (stage_path(root, stage, name) / "policy.safetensors").read_bytes()


def results(root: Path, stage: str = "act", name: str = "puppet") -> dict[str, Any]:
    meta = json.loads((stage_path(root, stage, name) / "stage.json").read_text())
    found: dict[str, Any] = meta["results"]
    return found


# --- the smoke run, through the command line ---


@pytest.mark.slow
def test_smoke_run_does_every_stage(smoke_done: Path) -> None:
    assert list(ran(smoke_done, "smoke")) == [
        "collect",
        "extract/patchstats",
        "extract/randconv",
        "teacher/cloudstats",
        "align",
        "train",
        "act",
    ]
    told = json.loads((smoke_done / "stdout").read_text())
    assert told["run"] == str(smoke_done / "smoke")
    assert told["results"]["act"] == results(smoke_done, name="smoke")
    assert len(told["results"]["act"]["episodes"]) == 4
    assert (smoke_done / "smoke" / "report.html").stat().st_size > 10_000
    (film,) = stage_path(smoke_done, "act", "smoke").glob("videos/*.mp4")
    assert film.name == "seed_0000000.mp4"
    scratch = ("inputs.json", "checkpoint.safetensors", "episodes.json")
    assert not [p for p in smoke_done.rglob("*") if p.name in scratch or ".partial" in p.name]


@pytest.mark.slow
def test_second_run_is_cached(cli: Cli, smoke_root: Path) -> None:
    spec = smoke_root / "smoke.toml"
    done = cli("run", spec, "--root", smoke_root, "--json")
    assert done.returncode == 0, done.stderr
    assert ran(smoke_root, "smoke") == {}
    assert done.stderr.count(": cached\n") == 7
    record = json.loads((smoke_root / "smoke" / "run.json").read_text())
    times = [stage["cpu_seconds"] for stage in record["stages"]]
    assert min(times) > 0  # of when each ran, not of looking
    assert json.loads(done.stdout)["results"]["act"] == results(smoke_root, name="smoke")
    checked = cli("check", spec, "--root", smoke_root, "--json")
    assert {stage["state"] for stage in json.loads(checked.stdout)["stages"]} == {"cached"}
    assert json.loads(checked.stdout)["bytes_needed"] == 0


@pytest.mark.slow
def test_two_roots_agree_to_the_bit(
    cli: Cli, spec_file: SpecFile, smoke_done: Path, tmp_path: Path
) -> None:
    runtime = {"simulator_workers": 1, "checkpoint_seconds": 0.0}
    spec = spec_file("smoke", compute=runtime, extract={"batch_size": 7, "compression": "zstd"})
    done = cli("run", spec, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(tmp_path, "smoke") == weights(smoke_done, "smoke")
    assert results(tmp_path, name="smoke") == results(smoke_done, name="smoke")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {
            "backbone": [{"use": "patchstats", "patch": 8}, {"use": "randconv", "dim": 8}],
            "align": {"fusion": {"use": "moe"}, "pool": "mean", "steps": 5},
            "policy": {
                "head": {
                    "use": "diffusion",
                    "denoiser": "unet",
                    "unet": {"down_dims": [16, 32], "groups": 4},
                },
                "arms": "left",
                "steps": 5,
            },
        },
        {
            "backbone": [{"use": "patchstats"}],
            "teacher": {"use": "pointnet", "dim": 16},
            "align": {"pool": "attention", "steps": 5},
            "policy": {
                "head": {
                    "use": "diffusion",
                    "denoiser": "transformer",
                    "transformer": {"width": 16, "layers": 1, "heads": 2},
                    "sampler": "dpm++",
                },
                "arms": "right",
                "gripper": False,
                "gripper_when_absent": "hold",
                "steps": 5,
            },
        },
    ],
    ids=["moe-unet", "pointnet-transformer"],
)
def test_other_components_run(
    spec_file: SpecFile, smoke_root: Path, changes: dict[str, Any]
) -> None:
    act = {"episodes": 1, "videos": 0}
    spec = read_spec(spec_file("smoke", act=act, compute={"simulator_workers": 1}, **changes))
    chain.run_pipeline(spec, smoke_root)
    assert len(results(smoke_root, name="smoke")["episodes"]) == 1
    shares = results(smoke_root, "align", "smoke")["fusion"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


# --- what runs again, and why ---


@pytest.mark.usefixtures("puppet")
def test_policy_key_that_changes_runs_train_and_act(spec_file: SpecFile, puppet_root: Path) -> None:
    chain.run_pipeline(read_spec(spec_file(policy={"lr": 0.002})), puppet_root, "train")
    assert ran(puppet_root) == {"train": "policy.lr: 0.001 -> 0.002"}
    chain.run_pipeline(read_spec(spec_file(policy={"lr": 0.002})), puppet_root)
    reasons = ran(puppet_root)  # known though the run before stopped behind train
    assert list(reasons) == ["act"]
    assert reasons["act"].startswith("policy: ")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 1}, ["align", "train", "act"]),
        ({"align": {"loss": {"temperature": 0.2}}}, ["align", "train", "act"]),
        ({"act": {"first_seed": 3}}, ["act"]),
        (
            {"backbone": [{"use": "puppet", "patch": 2}]},
            ["extract/puppet", "align", "train", "act"],
        ),
        ({"teacher": {"use": "puppet", "dim": 5}}, ["teacher/puppet", "align", "train", "act"]),
        ({"collect": {"action_noise_std": 0.5}}, STAGES),
        ({"name": "other"}, []),
        ({"extract": {"batch_size": 1, "compression": "zstd"}}, []),
        ({"compute": {"simulator_workers": 2, "threads": 2, "checkpoint_seconds": 9.0}}, []),
    ],
    ids=str,
)
def test_change_runs_what_depends_on_it(
    spec_file: SpecFile, puppet_done: Path, changes: dict[str, Any], expected: list[str]
) -> None:
    from rgb2act_core.pipeline.status import check

    found = check(read_spec(spec_file(**changes)), puppet_done).stages
    states = {str(stage.status.id): str(stage.status) for stage in found}
    assert [stage for stage, state in states.items() if state != "cached"] == expected


@pytest.mark.usefixtures("puppet")
def test_more_episodes_reuse_what_is_there(spec_file: SpecFile, puppet_root: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in puppet_root.glob("store/features/*/*")}
    chain.run_pipeline(read_spec(spec_file(collect={"episodes": 6})), puppet_root, "extract")
    reasons = ran(puppet_root)
    assert reasons["collect"] == "2 demonstrations and 0 scene packs to record"
    assert reasons["extract/puppet"] == "2 of 7 episodes to encode"
    assert {p: p.stat().st_mtime_ns for p in before} == before
    names = [p.name for p in sorted(stage_path(puppet_root, "collect").iterdir())]
    assert names == [  # every fifth seed fails
        "episode_0100000",
        "episode_0100001",
        "episode_0100002.failed",
        "episode_0100003",
        "episode_0100004",
        "episode_0100005",
        "episode_0100006",
        "scenes_0500000_3",
    ]
    chain.run_pipeline(read_spec(spec_file(collect={"episodes": 4})), puppet_root, "extract")
    assert ran(puppet_root) == {}


@pytest.mark.usefixtures("puppet")
def test_two_specs_share_stages(spec_file: SpecFile, puppet_root: Path) -> None:
    chain.run_pipeline(read_spec(spec_file(name="second", policy={"seed": None})), puppet_root)
    assert ran(puppet_root, "second") == {}
    spec = spec_file(name="third", backbone=[{"use": "puppet"}, {"use": "puppet", "patch": 8}])
    chain.run_pipeline(read_spec(spec), puppet_root, "align")
    assert list(ran(puppet_root, "third")) == ["extract/puppet-1", "align"]
    shares = results(puppet_root, "align", "third")["fusion"]
    assert list(shares) == ["puppet-0", "puppet-1"]  # of grids 2 x 2 and 1 x 1


@pytest.mark.usefixtures("puppet")
def test_deleted_output_is_made_again(spec_file: SpecFile, puppet_root: Path) -> None:
    import shutil

    before = weights(puppet_root)
    shutil.rmtree(stage_path(puppet_root, "train"))
    chain.run_pipeline(read_spec(spec_file()), puppet_root, "train")
    assert ran(puppet_root) == {"train": "its output was deleted"}
    assert weights(puppet_root) == before


# --- the same result ---


@pytest.mark.usefixtures("puppet")
@pytest.mark.slow
def test_acting_does_not_depend_on_the_workers(spec_file: SpecFile, puppet_root: Path) -> None:
    found = []
    for workers in (1, 2):
        path = stage_path(puppet_root, "act")
        path.rename(path.with_name(f"before-{workers}"))
        chain.run_pipeline(
            read_spec(spec_file(compute={"simulator_workers": workers})), puppet_root
        )
        found.append(results(puppet_root))
    assert found[0] == found[1]
    assert found[0]["successes"] == 2  # of odd seeds


@pytest.mark.usefixtures("puppet")
def test_archived_features_train_the_same_policy(
    spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    spec = read_spec(spec_file(extract={"compression": "zstd", "batch_size": 3}))
    chain.run_pipeline(spec, tmp_path, "train")
    assert weights(tmp_path) == weights(puppet_done)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    "condition",
    [
        "aligned",
        "dual",
        "tokens",
        "single_backbone",
        "random_aligner",
        "end_to_end",
        "proprio_only",
        "oracle",
    ],
)
def test_conditions_see_what_they_say(
    spec_file: SpecFile, puppet_root: Path, condition: str
) -> None:
    from rgb2act_core.policy.saving import load_policy

    spec = read_spec(spec_file(policy={"condition": condition, "n_obs_steps": 3}))
    chain.run_pipeline(spec, puppet_root, "train")
    assert ("align" in ran(puppet_root)) is False
    policy = load_policy(stage_path(puppet_root, "train"))
    expected = {
        "proprio_only": 0,
        "oracle": 2,
        "dual": 6 + 4,
    }  # teacher's width; fused, of one camera
    assert policy.shape.features == expected.get(condition, 6)
    assert policy.shape.head.obs_dim == policy.shape.features + 4
    assert policy.shape.tokens == ((4, 4) if condition == "tokens" else None)
    assert (policy.aligner is None) == (condition in ("proprio_only", "oracle", "single_backbone"))


@pytest.mark.usefixtures("puppet")
def test_single_sees_the_backbone_that_is_named(spec_file: SpecFile, puppet_root: Path) -> None:
    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    keys = set()
    for name in ("", "puppet-0", "puppet-1"):
        policy = {"condition": "single_backbone", "backbone": name}
        chain.run_pipeline(
            read_spec(spec_file(policy=policy, backbone=backbones)), puppet_root, "train"
        )
        made = json.loads((stage_path(puppet_root, "train") / "policy.json").read_text())
        keys.add(made["backbones"][0]["patch"])
    assert keys == {4, 8}
    policy = {"condition": "single_backbone", "backbone": "pupet-1"}
    with pytest.raises(UserError, match="there is no 'pupet-1'; did you mean 'puppet-1'"):
        chain.run_pipeline(
            read_spec(spec_file(policy=policy, backbone=backbones)), puppet_root, "train"
        )


@pytest.mark.usefixtures("puppet")
def test_tokens_that_memory_is_short_of_train_the_same_policy(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgb2act_core.policy import samples
    from rgb2act_core.store.tensors import read_tensors

    made = []
    for free in (1 << 40, 0):
        monkeypatch.setattr(samples, "free_memory", lambda _, free=free: free)
        spec = spec_file(policy={"condition": "tokens"})
        chain.run_pipeline(read_spec(spec), puppet_root, "train")
        folder = stage_path(puppet_root, "train")
        assert not (folder / samples.SPILLED).exists()
        made.append(read_tensors(folder / "policy.safetensors")[0])
        shutil.rmtree(folder)
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("policy", "act", "features", "embeddings"),
    [
        ({"condition": "proprio_only"}, {}, 0, 0),
        ({"condition": "oracle"}, {}, 0, 0),
        ({"condition": "single_backbone", "backbone": "puppet-1"}, {}, 1, 0),
        ({"condition": "proprio_only"}, {"baselines": ["end_to_end"]}, 2, 1),
    ],
    ids=str,
)
def test_only_what_a_policy_looks_at_is_extracted(
    spec_file: SpecFile,
    tmp_path: Path,
    policy: dict[str, Any],
    act: dict[str, Any],
    features: int,
    embeddings: int,
) -> None:
    from rgb2act_core.pipeline.status import check
    from rgb2act_core.pipeline.verify import verify

    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    spec = read_spec(spec_file(backbone=backbones, policy=policy, act=act))
    folder = chain.run_pipeline(spec, tmp_path, "train")
    found = [p for p in tmp_path.glob("store/features/*") if p.is_dir()]
    assert len(found) == features
    assert len([p for p in tmp_path.glob("store/embeddings/*") if p.is_dir()]) == embeddings
    planned = [s for s in check(spec, tmp_path).stages if s.status.id.variant]
    assert len(planned) == features + embeddings
    assert verify(folder).problems == ()


@pytest.mark.usefixtures("puppet")
def test_direct_trains_the_aligner_and_unaligned_does_not(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    from rgb2act_core.policy.saving import load_policy

    adapters = {}
    for condition in ("end_to_end", "random_aligner"):
        for steps in (1, 12):
            spec = spec_file(policy={"condition": condition, "steps": steps, "warmup": 0})
            chain.run_pipeline(read_spec(spec), puppet_root, "train")
            aligner = load_policy(stage_path(puppet_root, "train")).aligner
            assert aligner is not None
            adapters[condition, steps] = torch.cat(
                [p.flatten() for p in aligner.adapters.parameters()]
            )
    assert torch.equal(adapters["random_aligner", 1], adapters["random_aligner", 12])
    assert not torch.equal(adapters["end_to_end", 1], adapters["end_to_end", 12])


@pytest.mark.usefixtures("puppet")
@pytest.mark.slow
def test_baselines_are_trained_and_tried_beside(spec_file: SpecFile, puppet_root: Path) -> None:
    wanted = ["proprio_only", "end_to_end", "random_aligner", "oracle"]
    spec = read_spec(spec_file(act={"baselines": wanted}))
    chain.run_pipeline(spec, puppet_root)
    assert list(ran(puppet_root)) == [f"{s}/{c}" for c in wanted for s in ("train", "act")]
    for condition in wanted:
        assert len(results(puppet_root, f"act/{condition}")["episodes"]) == 4
    chain.run_pipeline(spec, puppet_root)
    assert ran(puppet_root) == {}


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("space", ["raw", "centred", "whitened"])
def test_teacher_spaces_are_aligned_to_and_kept(
    spec_file: SpecFile, puppet_root: Path, space: str
) -> None:
    from rgb2act_core.alignment.saving import load_aligner

    chain.run_pipeline(read_spec(spec_file(align={"teacher_space": space})), puppet_root, "align")
    aligner = load_aligner(stage_path(puppet_root, "align"))
    assert aligner.config.teacher_space == space
    assert (aligner.teacher_whitening is None) == (space != "whitened")
    kept = list((puppet_root / "store/embeddings").glob("*/statistics-*.safetensors"))
    assert len(kept) == (2 if space == "whitened" else 1)  # the finished run made the first


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
def test_options_of_alignment_run_through_to_a_verified_policy(
    spec_file: SpecFile, puppet_root: Path, align: dict[str, Any]
) -> None:
    from rgb2act_core.pipeline.verify import verify

    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 8}]
    spec = read_spec(spec_file(align=align, backbone=backbones))
    folder = chain.run_pipeline(spec, puppet_root, "train")
    assert verify(folder).problems == ()
    assert set(results(puppet_root, "align")["after"]) >= {"retrieval@1/episode", "uniformity"}


# --- which actions are executed ---


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("n_obs_steps", "n_action_steps", "context", "condition"),
    [
        (3, 2, 1, "proprio_only"),
        (1, 4, 1, "proprio_only"),
        (2, 1, 3, "aligned"),
        (2, 3, 2, "aligned"),
    ],
)
def test_executed_actions_are_the_first_of_the_newest_plan(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_obs_steps: int,
    n_action_steps: int,
    context: int,
    condition: str,
) -> None:
    from rgb2act_core.policy.saving import load_policy

    spec = read_spec(
        spec_file(
            policy={
                "n_obs_steps": n_obs_steps,
                "n_action_steps": n_action_steps,
                "condition": condition,
                "arms": "left",
                "gripper": False,
                "gripper_when_absent": "hold",
            },
            backbone=[{"use": "puppet", "context": context}],
            act={"episodes": 1, "parallel_episodes": 1, "first_seed": 7, "videos": 0},
        )
    )
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(puppet_root))
    chain.run_pipeline(spec, puppet_root)
    lines = (puppet_root / "7.jsonl").read_text().splitlines()
    executed_TA = np.array([json.loads(line) for line in lines], np.float32)

    policy = load_policy(stage_path(puppet_root, "train"))
    env = spec.environments[0].build().make()
    (backbone,) = [choice.build() for choice in spec.backbone]
    generator = torch.Generator().manual_seed(7)
    monkeypatch.delenv("RGB2ACT_PUPPET_LOG")
    seen = [env.reset(seed=7)[0]]
    expected: list[np.ndarray] = []
    while len(expected) < 11:
        # from all frames since the reset, by nothing of the online path
        frames = np.stack([o["rgb"] for o in [seen[0]] * (context + n_obs_steps) + seen])
        joints = np.stack([o["joints"] for o in [seen[0]] * n_obs_steps + seen])[-n_obs_steps:]
        features = torch.zeros(1, n_obs_steps, 0)
        if condition == "aligned":
            windows = [frames[len(frames) - i - context :][:context] for i in range(n_obs_steps)]
            tokens = backbone.encode(torch.from_numpy(np.stack(windows[::-1]))).half()
            with torch.no_grad():
                features = policy.features([tokens])[None]
        obs = policy.observe(features, torch.from_numpy(joints[None, :, :1]))
        plan = policy.plans(obs, [generator]).actions[0, 0].numpy()
        for step in range(n_action_steps):
            if len(expected) == 11:
                break
            action = seen[0]["joints"].copy()  # what the policy does not move stays
            action[0] = plan[step, 0]
            expected.append(action)
            seen.append(env.step(action)[0])
    np.testing.assert_array_equal(executed_TA[:, 1:], np.stack(expected)[:, 1:])
    np.testing.assert_allclose(executed_TA[:, 0], np.stack(expected)[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("puppet")
def test_gripper_that_nobody_moves_is_an_error_before_any_work(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file(policy={"gripper": False}))
    with pytest.raises(UserError, match="gripper_when_absent"):
        chain.run_pipeline(spec, tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("n_action_steps", [1, 2, 3])
@pytest.mark.parametrize("n_obs_steps", [1, 2])
def test_a_demonstration_that_is_acted_out_goes_the_same_way(
    spec_file: SpecFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_action_steps: int,
    n_obs_steps: int,
) -> None:
    """A head that remembers what followed what it saw repeats the joint path, step by step."""
    from rgb2act_puppet import MAX_STEPS, path_of

    spec = spec_file(
        environment={"use": "puppet", "path": True, "lengths": [MAX_STEPS]},
        collect={"episodes": 1, "scenes": 0},
        policy={
            "head": {"use": "memory"},
            "condition": "proprio_only",
            "n_obs_steps": n_obs_steps,
            "n_action_steps": n_action_steps,
            "steps": 40,
            "holdout": 0.0,
        },
        act={"episodes": 1, "parallel_episodes": 1, "videos": 0, "first_seed": 0},
    )
    monkeypatch.setenv("RGB2ACT_PUPPET_LOG", str(tmp_path))
    chain.run_pipeline(read_spec(spec), tmp_path / "runs")
    lines = (tmp_path / "0.jsonl").read_text().splitlines()
    executed_TA = np.array([json.loads(line) for line in lines], np.float32)
    expected_TA = path_of(100_000, MAX_STEPS)[1:]
    assert np.abs(executed_TA - expected_TA).max() < 1e-5
    for shift in (-1, 1):  # an off-by-one would be seen
        assert np.abs(np.roll(expected_TA, shift, 0) - expected_TA).max() > 0.1


# --- acting again ---


@pytest.mark.usefixtures("puppet")
def test_options_of_acting_change_the_outcome_and_repeat_it(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    paths = []
    for act in ({}, {"candidates": 4}, {"temporal_ensemble": True}, {"temporal_ensemble": True}):
        shutil.rmtree(puppet_root / "store/act")
        chain.run_pipeline(read_spec(spec_file(act=act)), puppet_root)
        found = results(puppet_root)
        assert set(found["smoothness"]) == {"seam", "largest_step", "jumps", "rewinds"}
        paths.append([episode["largest_step"] for episode in found["episodes"]])
    assert paths[0] != paths[1]
    assert paths[0] != paths[2]
    assert paths[2] == paths[3]


@pytest.mark.usefixtures("puppet")
def test_candidates_make_seams_smaller(spec_file: SpecFile, puppet_root: Path) -> None:
    seams = []
    for candidates in (1, 16):
        chain.run_pipeline(read_spec(spec_file(act={"candidates": candidates})), puppet_root)
        seams.append(results(puppet_root)["smoothness"]["seam"])
    assert seams[1] < seams[0]


def test_a_finished_run_acts_on_other_seeds(cli: Cli, puppet_root: Path) -> None:
    before = (puppet_root / "puppet/run.json").read_bytes()
    again = [
        cli("act", "puppet", "--root", puppet_root, "--seeds", "10:13", "--workers", n, "--json")
        for n in ("1", "2")
    ]
    assert [done.returncode for done in again] == [0, 0], again[0].stderr
    found = [json.loads(done.stdout)["results"]["act"] for done in again]
    assert [episode["seed"] for episode in found[0]["episodes"]] == [10, 11, 12]
    assert found[0] == found[1]
    assert (puppet_root / "puppet/run.json").read_bytes() == before
    assert "95 % interval" in again[0].stderr
    done = cli("act", "puppet", "--root", puppet_root, "--seeds", "10:13", "--episodes", "4")
    assert done.returncode == 2
    assert "--seeds names 3" in done.stderr
    done = cli("act", "puppet", "--root", puppet_root, "--seeds", "100000:100003")
    assert done.returncode == 2
    assert "act on seeds that nothing was learned from" in done.stderr


def test_a_spec_takes_episodes_and_seeds_from_the_command_line(
    cli: Cli, spec_file: SpecFile, puppet_root: Path
) -> None:
    done = cli("act", spec_file(), "--root", puppet_root, "--seeds", "20:22", "--json")
    assert done.returncode == 0, done.stderr
    episodes = json.loads(done.stdout)["results"]["act"]["episodes"]
    assert [episode["seed"] for episode in episodes] == [20, 21]
