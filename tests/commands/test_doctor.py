"""``rgb2act doctor``: each missing piece by name, with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]


def test_complete_spec_has_no_findings(cli: Cli, spec_file: Callable[..., Path]) -> None:
    done = cli("doctor", spec_file(), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "teacher puppet" in done.stdout
    assert "requirements met" in done.stdout


def test_missing_parts_are_listed(cli: Cli, spec_file: Callable[..., Path]) -> None:
    spec = spec_file(
        backbone=[{"use": "puppet", "weights": "no/such.safetensors"}],
        environment={"use": "puppet", "fault": "lame"},
        act={"seeds": "seeds.json"},
        compute={"device": "cuda:7"},
    )
    done = cli("doctor", spec, "--json")
    assert done.returncode == 1, done.stderr
    lacks = {
        (row["part"], row["name"]): row
        for row in json.loads(done.stdout)["requirements"]
        if not row["ok"]
    }
    assert set(lacks) == {
        ("backbone puppet", "weights"),
        ("environment puppet", "legs"),
        ("act", "seeds"),
        ("compute", "device"),
    }
    assert "no/such.safetensors" in lacks["backbone puppet", "weights"]["detail"]
    assert lacks["environment puppet", "legs"]["remedy"] == "carve new ones"
    shown = cli("doctor", spec, COLUMNS="200")
    assert shown.returncode == 1
    assert "environment puppet: legs: carve new ones" in shown.stdout
    assert "4 of " in shown.stdout
    assert "requirements missing" in shown.stdout


def test_a_pipe_gets_complete_lines_and_the_name_of_the_spec(
    cli: Cli, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    spec = spec_file(backbone=[{"use": "puppet", "weights": "hub"}])
    env = {"RGB2ACT_CACHE": str(tmp_path / "cache"), "COLUMNS": ""}
    done = cli("doctor", spec, "--root", tmp_path / "runs", **env)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert any(line.endswith("not downloaded yet: http://127.0.0.1:9/puppet") for line in lines)
    assert f"weights: rgb2act weights {spec} --fetch\n" in done.stdout
    assert f"{tmp_path / 'runs'}, " in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_root_that_cannot_be_a_folder_is_a_finding(
    cli: Cli, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = cli("doctor", spec_file(), "--root", tmp_path / "file" / "runs")
    assert done.returncode == 1
    assert "is not a folder" in done.stdout
