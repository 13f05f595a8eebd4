"""Summaries of episodes of the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rgb2act_core import cli
from rgb2act_core.data.episode_store import read_episode
from rgb2act_core.data.episode_summary import summarise_stored


@pytest.fixture
def episodes(smoke_done: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of a run's demonstrations."""
    (first, *_) = sorted(smoke_done.glob("store/episodes/*/episode_*"))
    return Path(shutil.copytree(first.parent, tmp_path / "episodes"))


def test_inspect_summarises_episodes_of_the_store(
    episodes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(episodes), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = sorted(p.name for p in episodes.iterdir() if (p / "zarr.json").exists())
    assert [episode["name"] for episode in found["episodes"]] == names
    first = read_episode(episodes / names[0])
    assert first.joints is not None
    assert found["episodes"][0]["frames"] == len(first.joints)
    assert found["cameras"] == {camera: [[32, 32]] for camera in first.cameras}
    assert len(found["actions"]) == first.joints.shape[1]
    assert all(low < high for _, low, high in found["actions"][:2])
    assert found["clouds"] is True
    assert cli.main(["inspect", str(episodes / names[0])]) == 0
    assert "instructions" in capsys.readouterr().out


def test_a_damaged_episode_is_listed(
    episodes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    damaged = min(p for p in episodes.iterdir() if (p / "zarr.json").exists())
    (damaged / "zarr.json").write_text("{")
    assert cli.main(["inspect", str(episodes), "--sheet", str(tmp_path / "sheet.png")]) == 1
    assert f"{damaged}" in capsys.readouterr().out.replace("\n", "")
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_a_spec_is_not_written_for_episodes_of_the_store(
    episodes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.toml"
    assert cli.main(["inspect", str(episodes), "--write-spec", str(spec)]) == 2
    assert "rgb2act new-spec --env NAME" in capsys.readouterr().err
    assert not spec.exists()


def test_other_folders_have_no_summary(tmp_path: Path) -> None:
    assert summarise_stored(tmp_path) is None
    assert summarise_stored(tmp_path / "missing") is None
