"""``new-spec`` writes specs that run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from rgb2act_core.cli import main

SMALL = (
    "environment.size=32",
    "collect.episodes=2",
    "collect.scenes=0",
    "align.steps=2",
    "align.warmup=0",
    "policy.steps=2",
    "policy.warmup=0",
    "act.episodes=1",
    "compute.simulator_workers=1",
)


@pytest.mark.slow
def test_written_spec_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    assert main(["new-spec", "--env", "tabletop", "--backbone", "randconv", "-o", str(path)]) == 0
    assert f"next: rgb2act check {path}" in capsys.readouterr().out
    options = [word for key in SMALL for word in ("--set", key)]
    assert main(["run", str(path), "--root", str(tmp_path), "--json", *options]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert len(results["act"]["episodes"]) == 1


def test_spec_is_printed_with_the_keys_that_the_environment_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new-spec", "--env", "tabletop"]) == 0
    text = capsys.readouterr().out
    spec = tomllib.loads(text)
    assert spec["environment"] == {"use": "tabletop"}
    assert spec["backbone"] == [{"use": "patchstats"}]
    assert '# cameras = ["head", "top"]' in text


def test_files_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name = 'precious'")
    assert main(["new-spec", "--env", "tabletop", "-o", str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: already exists; choose another file name\n"
    assert path.read_text() == "name = 'precious'"


def test_environment_is_needed_and_near_misses_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new-spec"]) == 2
    assert "--env: missing; name an environment, or give --data" in capsys.readouterr().err
    assert main(["new-spec", "--env", "tabletp"]) == 2
    assert "did you mean 'tabletop'" in capsys.readouterr().err
