"""The specs in examples/: all pass check, and short versions run."""

from __future__ import annotations

import shutil
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.cli import main

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PRETRAINED = {"robotwin.toml"}  # needs weights
ROBOTWIN = {  # need RoboTwin
    "robotwin_hammer.toml",
    "robotwin_handover.toml",
    "robotwin_handover_learned.toml",
}
SIMULATED = {"aloha_transfer.toml"} | ROBOTWIN  # the first needs gym-aloha
RECORDED = {"robotwin_recorded.toml"}  # recorded demonstrations only, no simulator
THOROUGH = {"reach.toml", "lift.toml", "lift_pedestal.toml", "lift_tasks.toml"}
# run by other tests, or with baselines and otherwise equal to lift_distractors.toml
ELSEWHERE = {"lift_distractors_baselines.toml", "smoke.toml"}
NAMES = sorted(path.name for path in EXAMPLES.glob("*.toml"))


def content(name: str) -> dict[str, Any]:
    return tomllib.loads((EXAMPLES / name).read_text(encoding="utf-8"))


def test_every_task_of_tabletop_has_an_example() -> None:
    from rgb2act_tabletop.config import TASKS

    tables = [
        content(name)["environment"]
        for name in NAMES
        if name not in PRETRAINED | SIMULATED | RECORDED
    ]
    tasks = [table if isinstance(table, list) else [table] for table in tables]
    shown = {task["task"] for several in tasks for task in several}
    assert shown == set(TASKS)


def test_run_names_of_examples_are_unique() -> None:
    assert len({content(name)["name"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in PRETRAINED | SIMULATED])
def test_example_passes_check(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**12)  # enough for every example
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert main(["check", str(EXAMPLES / name), "--root", str(tmp_path), "--no-time"]) == 0
    output = capsys.readouterr().out
    assert ("1 episode to encode" if name in RECORDED else "waits for collect") in output
    assert not list(tmp_path.iterdir())


def test_missing_plugins_of_the_robotwin_example_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(EXAMPLES / "robotwin.toml"), "--root", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    for name in ("robotwin", "dinov3", "vggt", "ulip"):
        if not (EXAMPLES.parent / "plugins" / name).exists():
            assert f"pip install rgb2act-{name}" in errors


def test_gym_aloha_is_named_if_it_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec("gym_aloha"):
        pytest.skip("gym-aloha is installed")
    assert main(["check", str(EXAMPLES / "aloha_transfer.toml"), "--root", str(tmp_path)]) == 2
    assert "pip install gym-aloha" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(ROBOTWIN))
def test_check_names_everything_that_an_example_of_robotwin_needs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(EXAMPLES / name), "--root", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    for key in ("data", "python", "root"):
        assert f"environment.{key}: there is no file" in errors


def test_example_with_baselines_differs_only_in_the_baselines() -> None:
    plain, baselines = content("lift_distractors.toml"), content("lift_distractors_baselines.toml")
    assert baselines["act"].pop("baselines") == ["proprio_only", "end_to_end"]
    del plain["name"], baselines["name"]
    assert baselines == plain


SHORTER = {
    "collect": {"episodes": 3, "scenes": 5},
    "align": {"steps": 5, "batch_size": 8},
    "policy": {"steps": 5, "batch_size": 8},
    "act": {"episodes": 2, "parallel_episodes": 2, "videos": 0},
    "compute": {"simulator_workers": 2},
    "distill": {"steps": 10},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name in THOROUGH else ())
        for name in NAMES
        if name not in PRETRAINED | SIMULATED | RECORDED | ELSEWHERE
    ],
)
def test_short_version_of_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import attrs

    from rgb2act_core.pipeline.chain import run_pipeline
    from rgb2act_core.spec.reader import read_spec

    monkeypatch.setenv("RGB2ACT_QUIET", "1")
    spec = read_spec(EXAMPLES / name)
    tables = {
        table: attrs.evolve(given, **keys)
        for table, keys in SHORTER.items()
        if (given := getattr(spec, table)) is not None
    }
    folder = run_pipeline(attrs.evolve(spec, **tables), tmp_path)
    assert (folder / "report.html").stat().st_size > 10_000
