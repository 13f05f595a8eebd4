"""Stage folders appear complete or not at all."""

from pathlib import Path

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.store.files import write_json
from rgb2act_core.store.stage_folder import StageFolder


def test_a_stage_is_visible_only_after_commit(tmp_path: Path) -> None:
    folder = StageFolder.of(tmp_path, {"stage": "align", "steps": 3})
    partial = folder.open()
    write_json(partial / "result.json", {})
    assert not folder.done
    assert not folder.path.exists()
    folder.commit(seconds=1.0, cpu_seconds=1.0, results={"loss": 0.5})
    assert folder.done
    assert folder.meta()["results"] == {"loss": 0.5}
    assert not folder.partial.exists()


def test_a_damaged_stage_is_reported(tmp_path: Path) -> None:
    folder = StageFolder.of(tmp_path, {"stage": "align"})
    folder.open()
    folder.commit(seconds=1.0, cpu_seconds=1.0, results={})
    (folder.path / "stage.json").write_text("{")
    with pytest.raises(UserError, match=r"stage\.json"):
        folder.meta()


def test_opening_deletes_half_written_files_and_keeps_the_others(tmp_path: Path) -> None:
    folder = StageFolder.of(tmp_path, {"stage": "align"})
    partial = folder.open()
    (partial / "videos").mkdir()
    leftovers = [partial / ".checkpoint.safetensors.1-ab.part", partial / "videos/.a.mp4.1-ab.part"]
    for path in [*leftovers, partial / "checkpoint.safetensors"]:
        path.touch()
    folder.open()
    assert not any(path.exists() for path in leftovers)
    assert (partial / "checkpoint.safetensors").exists()
