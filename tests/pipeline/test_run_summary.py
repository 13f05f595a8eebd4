"""Summaries of runs, and what two specs differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.pipeline import run_summary
from rgb2act_core.pipeline.comparison import compare
from rgb2act_core.pipeline.comparison_page import comparison_page
from rgb2act_core.pipeline.run_summary import summaries
from rgb2act_core.reporting.page import render_page
from rgb2act_core.store.run_marks import under_way


def stage(name: str, key: str) -> dict[str, Any]:
    kind = {"train": "policy"}.get(name, name)
    return {
        "stage": name,
        "key": key,
        "path": f"store/{kind}/{key}",
        "cached": False,
        "reason": "",
        "seconds": 2.0,
        "cpu_seconds": 3.0,
    }


def add_run(root: Path, number: int, solved: set[int], spec: dict[str, Any]) -> Path:
    """Write a run that was evaluated on seeds from 0 to 9."""
    folder = root / "demo" / str(number)
    folder.mkdir(parents=True)
    content = {
        "name": "demo",
        "version": "0.1.0",
        "created": f"2026-01-0{number}T03:04:05+0000",
        "spec": spec,
        "stages": [stage("train", f"t{number}"), stage("act", f"a{number}")],
        "ended": "act",
        "format": 3,
    }
    (folder / "run.json").write_text(json.dumps(content))
    train, act = root / "store" / "policy" / f"t{number}", root / "store" / "act" / f"a{number}"
    for path in (train, act):
        path.mkdir(parents=True)
    rows = [{"step": step, "loss": 1.0 / (step + number)} for step in range(1, 5)]
    (train / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    episodes = [{"seed": seed, "success": seed in solved} for seed in range(10)]
    results = {
        "episodes": episodes,
        "successes": len(solved),
        "rate": len(solved) / 10,
        "interval": [0.1, 0.9],
    }
    (act / "stage.json").write_text(json.dumps({"results": results}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = {"policy": {"steps": 10}, "backbone": [{"use": "a"}], "seed": 0}
    second = {"policy": {"steps": 20}, "backbone": [{"use": "a"}, {"use": "<v>"}], "seed": 0}
    return [
        add_run(tmp_path, 1, {0, 1}, first),
        add_run(tmp_path, 2, {1, 2, 3, 4, 5, 6, 7}, second),
    ]


def test_a_summary_states_what_changed_and_what_came_out(runs: list[Path], tmp_path: Path) -> None:
    first, second = summaries(tmp_path)
    assert (str(first.id), first.changes, first.state) == ("demo@1", (), "finished")
    assert list(map(str, second.changes)) == ["policy.steps: 10 -> 20", "backbone[1].use: - -> <v>"]
    assert second.success is not None
    assert (second.success.rate, second.success.episodes) == (0.7, 10)
    assert second.seconds == 4.0
    stored = sum(f.stat().st_size for f in tmp_path.glob("store/*/?2/*"))
    assert second.bytes == stored
    assert summaries(tmp_path, "other") == []
    with under_way(runs[1]):
        assert summaries(tmp_path)[1].state == "under way"


def test_damaged_runs_and_results_hide_no_other(runs: list[Path], tmp_path: Path) -> None:
    (runs[0] / "run.json").write_text("{")
    (tmp_path / "store" / "act" / "a2" / "stage.json").write_text("[]")
    first, second = summaries(tmp_path)
    assert "cannot be read" in first.state
    assert first.to_json()["created"] is None
    assert (second.success, second.changes) == (None, ())


def test_runs_are_compared_with_the_first(runs: list[Path]) -> None:
    found = compare(runs)
    assert found.names == ("demo@1", "demo@2")
    assert [(row.key, row.values) for row in found.differences] == [
        ("policy.steps", (10, 20)),
        ("backbone[1].use", (None, "<v>")),
    ]
    (pair,) = found.paired
    assert pair is not None
    assert (pair.episodes, pair.only_first, pair.only_second) == (10, 1, 6)
    assert pair.difference == pytest.approx(0.5)
    assert pair.p == 0.125  # 2 * (1 + 7) / 2**7
    assert found.curves["Loss of the policy"]["demo@2"][0] == (1, pytest.approx(1 / 3))
    (reverse,) = compare(runs[::-1]).paired
    assert reverse is not None
    assert reverse.difference == -pair.difference


def test_the_page_shows_each_run_and_escapes_texts(runs: list[Path]) -> None:
    page = comparison_page(compare(runs))
    assert [section.title for section in page.sections] == [
        "Success",
        "Specs",
        "Learning curves",
        "Runs",
    ]
    html = render_page(page)
    assert "+50" in html
    assert "&lt;v&gt;" in html
    assert "<v>" not in html


def test_runs_that_were_not_evaluated_are_compared_by_their_specs(
    runs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "store" / "act" / "a2" / "stage.json").unlink()
    found = compare(runs)
    assert found.paired == (None,)
    assert found.to_json()["runs"][1]["paired"] is None
    assert "demo@2" in render_page(comparison_page(found))


def test_a_list_of_runs_reads_each_record_and_measures_each_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        folder = add_run(tmp_path, number, set(), {"seed": number})
        data = json.loads((folder / "run.json").read_text())
        data["stages"].append(stage("collect", "shared"))
        (folder / "run.json").write_text(json.dumps(data))
    seen: list[Path] = []
    for name in ("read_run_file", "size_of"):
        real = getattr(run_summary, name)
        monkeypatch.setattr(
            run_summary, name, lambda path, real=real: (seen.append(path), real(path))[1]
        )
    found = summaries(tmp_path)
    assert [str(change) for each in found for change in each.changes] == [
        "seed: 1 -> 2",
        "seed: 2 -> 3",
    ]
    assert len(seen) == len(set(seen)) == 3 + 2 * 3 + 1
