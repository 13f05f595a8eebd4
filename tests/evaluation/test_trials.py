"""Evaluation during training, which selects the best weights."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_records import last_stages

from rgb2act_core.errors import UserError
from rgb2act_core.evaluation import trials as closed_loop
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.reevaluate import act_again
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.tensors import read_tensors

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
TRIALS = {"every": 5, "episodes": 3, "first_seed": 60_000}
SKILL = {"use": "puppet", "skill": True}


def trained(root: Path) -> Path:
    stages = last_stages(root, "puppet")
    (found,) = [s["path"] for s in stages if s["stage"] == "train"]
    return root / str(found)


def results(root: Path) -> dict[str, Any]:
    return dict(json.loads((trained(root) / "stage.json").read_text())["results"])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("wins", "best"),
    [([1, 3, 2], (10, 1.0)), ([2, 1, 2], (12, 2 / 3)), ([0, 0, 0], (12, 0.0))],
)
def test_the_best_weights_become_the_policy(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    wins: list[int],
    best: tuple[int, float],
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def run(batch: Any, advance: Any) -> list[dict[str, bool]]:
        state = batch.planner.policy.state_dict()
        seen.append({name: tensor.clone() for name, tensor in state.items()})
        assert batch.seeds == (60_000, 60_001, 60_002)
        return [{"success": i < wins[len(seen) - 1]} for i in range(3)]

    monkeypatch.setattr(closed_loop.EpisodeBatch, "run", run)
    spec = spec_file(policy={"closed_loop": TRIALS}, act={"parallel_episodes": 3})
    chain.run_pipeline(read_spec(spec), puppet_root, "train")
    found = results(puppet_root)["closed_loop"]
    assert (found["step"], found["rate"]) == best
    assert found["trials"] == [[5, wins[0] / 3], [10, wins[1] / 3], [12, wins[2] / 3]]
    assert found["first_seed"] == 60_000
    kept = load_policy(trained(puppet_root)).state_dict()
    at = [5, 10, 12].index(best[0])
    assert all(torch.equal(kept[name], seen[at][name]) for name in kept)
    assert not all(torch.equal(kept[name], seen[at - 1][name]) for name in kept)
    assert not (trained(puppet_root) / closed_loop.BEST).exists()


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("condition", ["end_to_end", "tokens", "oracle"])
def test_trials_act_as_in_the_act_stage(
    spec_file: SpecFile, puppet_root: Path, condition: str
) -> None:
    """The last weights act in training as they do in the act stage."""
    policy = {"condition": condition, "closed_loop": TRIALS | {"every": 12, "episodes": 4}}
    spec = spec_file(environment=SKILL, policy=policy, act={"candidates": 3})
    folder = chain.run_pipeline(read_spec(spec), puppet_root)
    found = results(puppet_root)["closed_loop"]
    again = act_again(folder, lambda spec: _on(spec, found["first_seed"])).results
    assert found["trials"] == [[12, again["rate"]]]


def _on(spec: Any, first: int) -> Any:
    import attrs

    # as if these seeds had not selected the weights
    act = attrs.evolve(spec.act, first_seed=first)
    return attrs.evolve(spec, act=act, policy=attrs.evolve(spec.policy, closed_loop=None))


@pytest.mark.usefixtures("puppet")
def test_trials_run_all_tasks_and_select_by_the_mean(spec_file: SpecFile, tmp_path: Path) -> None:
    both = [SKILL, SKILL | {"task": "waltz"}]
    trials = TRIALS | {"episodes": 4}
    spec = spec_file(environment=both, policy={"closed_loop": trials}, act={"parallel_episodes": 2})
    folder = chain.run_pipeline(read_spec(spec), tmp_path)
    found = results(tmp_path)["closed_loop"]
    assert list(found["tasks"]) == ["puppet", "waltz"]
    rates = [part["rate"] for part in found["tasks"].values()]
    assert found["rate"] == pytest.approx(sum(rates) / 2)
    curves = [json.loads(x) for x in (trained(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    tried = [row for row in curves if "act/success" in row]
    assert [row["step"] + 1 for row in tried] == [5, 10, 12]
    for row in tried:
        each = [row["act/success/puppet"], row["act/success/waltz"]]
        assert row["act/success"] == pytest.approx(sum(each) / 2)
    best = next(row for row in tried if row["step"] + 1 == found["step"])
    assert rates == [best["act/success/puppet"], best["act/success/waltz"]]
    # the act stage gets the same rates
    again = act_again(folder, lambda spec: _on(spec, found["first_seed"])).results["tasks"]
    tries = [again[name]["successes"] for name in ("puppet", "waltz")]
    assert [4 * rate for rate in rates] == tries


@pytest.mark.usefixtures("puppet")
def test_trials_use_accepted_seeds(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[Any] = []
    play = closed_loop.EpisodeBatch.run
    monkeypatch.setattr(
        closed_loop.EpisodeBatch,
        "run",
        lambda w, a: played.append((w.seeds, w.scenes)) or play(w, a),
    )
    choosy = {"use": "choosy"}
    spec = spec_file(
        environment=choosy, policy={"closed_loop": TRIALS}, act={"parallel_episodes": 3}
    )
    chain.run_pipeline(read_spec(spec), puppet_root, "train")
    assert len(played) == 3
    for seeds, scenes in played:
        assert seeds == (60_000, 60_002, 60_004)
        assert scenes[60_002] == {"half": 30_001}


@pytest.mark.usefixtures("puppet")
def test_trial_seeds_that_overlap_the_act_seeds_are_an_error(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    choosy = {"use": "choosy"}  # accepts even seeds, and acts from 1000 on
    spec = spec_file(environment=choosy, policy={"closed_loop": TRIALS | {"first_seed": 997}})
    words = r"first_seed: 997 is too high: .* the trials reach seed 1000 of \[act\]"
    with pytest.raises(UserError, match=words):
        chain.run_pipeline(read_spec(spec), puppet_root, "train")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("trip", ["learn:sigkill:7", "step:orphan:50"])
def test_interrupted_training_selects_the_same_weights(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path, trip: str
) -> None:
    trials = TRIALS | {"every": 2}
    spec = spec_file(environment=SKILL, policy={"closed_loop": trials, "lr": 0.3, "ema": 0.0})
    made = []
    for name in ("killed", "whole"):
        root = shutil.copytree(puppet_done, tmp_path / name)
        if name == "killed":
            done = cli("train", spec, "--root", root, RGB2ACT_PUPPET=trip)
            assert done.returncode == -signal.SIGKILL, done.stderr
        done = cli("train", spec, "--root", root)
        assert done.returncode == 0, done.stderr
        weights = read_tensors(trained(root) / "policy.safetensors")[0]
        made.append((weights, results(root)["closed_loop"]))
    assert made[0][1] == made[1][1]
    assert len({rate for _, rate in made[0][1]["trials"]}) > 1  # trials differ
    assert all(torch.equal(made[0][0][name], made[1][0][name]) for name in made[0][0])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"act": {"first_seed": 60_002}},
            "act.first_seed: seed 60002 is also one of the seeds of the trials of",
        ),
        (
            {"policy": {"closed_loop": TRIALS | {"first_seed": 100_001}}},
            "policy.closed_loop.first_seed: seed 100001 is also one of the seeds of the",
        ),
    ],
)
def test_overlapping_trial_seeds_are_rejected(
    spec_file: SpecFile, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    base: dict[str, Any] = {"policy": {"closed_loop": TRIALS}}
    with pytest.raises(UserError, match=words):
        chain.run_pipeline(read_spec(spec_file(**(base | changes))), tmp_path)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("puppet")
def test_trial_settings_are_in_the_policy_key_and_act_seeds_are_not(
    spec_file: SpecFile, puppet_done: Path
) -> None:
    from rgb2act_core.data.dataset import Dataset
    from rgb2act_core.stages.keys import train_inputs
    from rgb2act_core.stages.run import Run

    def inputs(**changes: Any) -> Any:
        spec = read_spec(spec_file(**changes))
        data = Dataset(demonstrations=())
        return train_inputs(Run(spec=spec, root=puppet_done), data, None)

    trials = {"policy": {"closed_loop": TRIALS}}
    assert "act" not in inputs()
    assert inputs(**trials) == inputs(**trials, act={"first_seed": 9, "episodes": 2, "videos": 2})
    assert inputs(**trials) == inputs(**trials, act={"compile": True})
    assert inputs(**trials) != inputs(**trials, act={"candidates": 2})
    assert inputs(**trials) != inputs(policy={"closed_loop": TRIALS | {"episodes": 4}})
