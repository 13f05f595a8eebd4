"""Runs on disk, opened from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import rgb2act_core
from rgb2act_core import UserError, open_run, runs
from rgb2act_core.store.files import write_record


def test_open_run_by_name_and_by_folder(smoke_done: Path) -> None:
    for run in (open_run("smoke", root=smoke_done), open_run(smoke_done / "smoke")):
        assert run.name == run.spec.name == "smoke"
        assert run.folder == smoke_done / "smoke" / "1"
    with pytest.raises(UserError, match=r"^smok: no such run; did you mean 'smoke'\?"):
        open_run("smok", root=smoke_done)


def test_record_and_results(smoke_done: Path) -> None:
    run = open_run("smoke", root=smoke_done)
    listed = json.loads((smoke_done / "smoke" / "1" / "run.json").read_text())["stages"]
    assert list(run.stages) == [stage["stage"] for stage in listed]
    assert run.stages["train"].seconds == listed[-2]["seconds"]
    assert set(run.results) == {"align", "train", "act"}
    printed = json.loads((smoke_done / "stdout").read_text())["results"]["act"]
    assert run.results["act"] == printed
    found = run.success_rate
    assert found is not None
    assert (found.rate, found.successes) == (printed["rate"], printed["successes"])
    assert [found.low, found.high] == printed["interval"]
    assert found.episodes == len(printed["episodes"])


def test_models_are_those_of_the_stages(smoke_done: Path) -> None:
    run = open_run("smoke", root=smoke_done)
    aligner = rgb2act_core.load_aligner(smoke_done / run.stages["align"].path)
    policy = rgb2act_core.load_policy(smoke_done / run.stages["train"].path)
    for loaded, expected in ((run.aligner(), aligner), (run.policy(), policy)):
        state, wanted = loaded.state_dict(), expected.state_dict()
        assert state.keys() == wanted.keys()
        assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_run_without_an_aligner_or_an_evaluation(smoke_root: Path) -> None:
    path = smoke_root / "smoke" / "1" / "run.json"
    record = json.loads(path.read_text())
    record["stages"] = [s for s in record["stages"] if s["stage"] not in ("align", "act")]
    write_record(path, {k: v for k, v in record.items() if k != "record_digest"})
    run = open_run("smoke", root=smoke_root)
    assert run.success_rate is None
    with pytest.raises(UserError, match="has no stage 'align' yet"):
        run.aligner()
    (row,) = runs(smoke_root)
    assert (row["align"], row["align_seconds"], row["train"]) == (None, None, "done")
    assert (row["act"], row["success"], row["episodes"], row["error"]) == (None, None, None, None)


def test_rows_of_runs(smoke_root: Path) -> None:
    shutil.copytree(smoke_root / "smoke", smoke_root / "other")
    (smoke_root / "other" / "1" / "run.json").write_text("{}")
    other, smoke = runs(smoke_root)
    assert other.keys() == smoke.keys()
    assert other["name"] == "other"
    assert "damaged" in other["error"]
    rate = open_run("smoke", root=smoke_root).success_rate
    assert rate is not None
    assert smoke["error"] is None
    assert (smoke["name"], smoke["condition"]) == ("smoke", "aligned")
    assert smoke["backbones"] == "patchstats, randconv"
    assert (smoke["success"], smoke["low"], smoke["high"]) == (rate.rate, rate.low, rate.high)
    assert smoke["episodes"] == rate.episodes
    stages = open_run("smoke", root=smoke_root).stages
    extract = sum(s.seconds for name, s in stages.items() if name.startswith(("extract", "teach")))
    assert smoke["extract_seconds"] == pytest.approx(extract)
    assert {smoke[s] for s in ("collect", "extract", "align", "train", "act")} == {"done"}
    shutil.rmtree(smoke_root / stages["align"].path)
    assert [row["align"] for row in runs(smoke_root)] == [None, "deleted"]


def test_folder_without_runs_has_no_rows(tmp_path: Path) -> None:
    assert runs(tmp_path) == []
    assert runs(tmp_path / "absent") == []


def test_planner_uses_the_runs_policy_and_act_table(smoke_done: Path) -> None:
    run = open_run("smoke", root=smoke_done)
    planner = run.planner(device="cpu")
    config = planner.config
    assert config == run.policy(device="cpu").config
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (len(config.cameras), *config.image, 3), np.uint8)
    joints = random.normal(size=len(config.action_names)).astype(np.float32)
    plans = []
    for seed in (0, 0, 1):
        planner.reset(seed)
        planner.observe(rgb, joints)
        plans.append(planner.act())
    assert plans[0].shape == (config.n_action_steps, len(joints))
    assert np.array_equal(plans[0], plans[1])
    assert not np.array_equal(plans[0], plans[2])
