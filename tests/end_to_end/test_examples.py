"""The specs in examples/: all are read and fit, and the small ones run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
LATER = {"robotwin.toml"}  # needs weights, and plugins that are not there yet
RECORDED = {"robotwin_recorded.toml"}  # reads what lies on disk, and has nothing to act in
NAMES = sorted(path.name for path in EXAMPLES.glob("*.toml"))


def content(name: str) -> dict[str, Any]:
    return tomllib.loads((EXAMPLES / name).read_text(encoding="utf-8"))


def test_every_task_of_tabletop_has_an_example() -> None:
    from rgb2act_tabletop.config import TASKS

    tables = [content(name)["environment"] for name in NAMES if name not in LATER | RECORDED]
    tasks = [table if isinstance(table, list) else [table] for table in tables]
    shown = {task["task"] for several in tasks for task in several}
    assert shown == set(TASKS)


def test_examples_have_names_of_their_own() -> None:
    assert len({content(name)["name"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in LATER])
def test_example_fits(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / name), "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert ("1 episode to encode" if name in RECORDED else "waits for collect") in told
    assert not list(tmp_path.iterdir())


def test_robotwin_is_refused_with_the_distributions_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(EXAMPLES / "robotwin.toml"), "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    for name in ("robotwin", "dinov3", "vggt", "ulip"):
        if not (EXAMPLES.parent / "plugins" / name).exists():
            assert f"pip install rgb2act-{name}" in told


def test_quickstart_with_baselines_is_the_quickstart_besides() -> None:
    plain, beside = content("quickstart.toml"), content("quickstart_baselines.toml")
    assert beside["act"].pop("baselines") == ["proprio_only", "end_to_end"]
    del plain["name"], beside["name"]
    assert beside == plain


SHORTER = {
    "collect": {"episodes": 3, "scenes": 5},
    "align": {"steps": 5, "batch_size": 8},
    "policy": {"steps": 5, "batch_size": 8},
    "act": {"episodes": 2, "parallel_episodes": 2, "videos": 0},
    "compute": {"simulator_workers": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in LATER | RECORDED | {"quickstart.toml", "smoke.toml"}]
)
def test_example_runs_when_cut_short(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import attrs

    from rgb2act_core.pipeline.chain import run_pipeline
    from rgb2act_core.spec.reader import read_spec

    monkeypatch.setenv("RGB2ACT_QUIET", "1")
    spec = read_spec(EXAMPLES / name)
    tables = {table: attrs.evolve(getattr(spec, table), **keys) for table, keys in SHORTER.items()}
    folder = run_pipeline(attrs.evolve(spec, **tables), tmp_path)
    assert (folder / "report.html").stat().st_size > 10_000
