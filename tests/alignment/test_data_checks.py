"""Data that alignment cannot learn from is an error or is reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.group_reader import read_group

SpecFile = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("puppet")


def aligned(spec_file: SpecFile, root: Path, **changes: Any) -> dict[str, Any]:
    """Run the chain up to the aligner and return the stage's results."""
    folder = chain.run_pipeline(read_spec(spec_file(**changes)), root, "align")
    (stage,) = [
        s for s in json.loads((folder / "run.json").read_text())["stages"] if s["stage"] == "align"
    ]
    results: dict[str, Any] = json.loads((root / stage["path"] / "stage.json").read_text())
    return dict(results["results"])


def scaled(folder: Path, scale: float) -> dict[str, Any]:
    """Return a puppet backbone whose features are multiplied by a number."""
    path = folder / f"puppet-{scale:g}.safetensors"
    save_file({"scale": torch.tensor(scale)}, path)
    return {"use": "puppet", "weights": str(path)}


def spoil(group: Path, name: str, frame: int, value: float) -> None:
    """Overwrite the first number of a frame in a stored float32 array, and its checksum."""
    array = np.array(read_group(group)[name])
    (file,) = (group / name).rglob("c.*") if (group / name).is_dir() else ()
    content = bytearray(file.read_bytes())
    begin = content.index(array[frame].tobytes())
    array[frame].reshape(-1)[0] = value
    content[begin : begin + array[frame].nbytes] = array[frame].tobytes()
    file.write_bytes(content)
    header = group / name / "zarr.json"
    meta = json.loads(header.read_text())
    meta["attributes"]["crc32c"][frame] = google_crc32c.value(array[frame].tobytes())
    header.write_text(json.dumps(meta))


def groups(root: Path, kind: str) -> list[Path]:
    return sorted(p for p in (root / "store" / kind).glob("*/*") if (p / "zarr.json").exists())


@pytest.mark.parametrize(
    ("kind", "array", "what"),
    [
        ("features", "pooled", "features of backbone puppet"),
        ("embeddings", "embeddings", "embeddings of teacher puppet"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error_with_episode_and_frame(
    spec_file: SpecFile, puppet_root: Path, kind: str, array: str, what: str, value: float
) -> None:
    group = groups(puppet_root, kind)[1]
    spoil(group, array, 2, value)
    words = rf"align: {what}: episode \w+, frame 2 contains NaN or infinity; delete {group} and"
    with pytest.raises(UserError, match=words):
        aligned(spec_file, puppet_root, align={"steps": 3})
    shutil.rmtree(group)
    assert aligned(spec_file, puppet_root, align={"steps": 3})["episodes"]["held_out"] == 1


def test_features_beyond_float16_are_an_error(spec_file: SpecFile, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="puppet: features of the probe image contain NaN or inf"):
        aligned(spec_file, tmp_path, backbone=[scaled(tmp_path, 1e9)])


def test_a_constant_backbone_is_reported_and_the_other_one_is_aligned(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbones = [{"use": "puppet"}, scaled(tmp_path, 0.0)]
    found = aligned(spec_file, tmp_path, backbone=backbones)
    err = capsys.readouterr().err
    assert "align: backbone puppet-1: its features are zero in all " in err
    assert "backbone puppet-0: its features" not in err
    assert all(np.isfinite(list(found["after"].values())))


def test_constant_backbones_only_are_an_error(spec_file: SpecFile, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no backbone's features change between frames"):
        aligned(spec_file, tmp_path, backbone=[scaled(tmp_path, 0.0)])


def test_a_constant_teacher_is_an_error(spec_file: SpecFile, tmp_path: Path) -> None:
    words = r"teacher puppet: the embeddings of all \d+ training frames are equal"
    with pytest.raises(UserError, match=words):
        aligned(spec_file, tmp_path, teacher={"use": "puppet", "distinct": 1})


def test_a_teacher_with_few_distinct_embeddings_is_reported(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aligned(spec_file, tmp_path, teacher={"use": "puppet", "distinct": 3})
    assert "teacher puppet: only 3 distinct embeddings in" in capsys.readouterr().err


def test_a_single_episode_is_evaluated_on_itself_which_is_reported(
    spec_file: SpecFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = aligned(spec_file, tmp_path, collect={"episodes": 1, "scenes": 0})
    assert found["episodes"] == {"train": 1, "held_out": 0, "scenes": 0}
    assert found["measured"] == {"frames": 9, "pool": 9}
    message = "no episode is held out (holdout = 0.25 of 1 episodes), so the metrics are those of"
    assert message in capsys.readouterr().err
