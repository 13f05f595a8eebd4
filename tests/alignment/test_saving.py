"""Errors of saved aligners."""

import json
from pathlib import Path

import pytest
from small_aligner import WEIGHTED, build

from rgb2act_core.alignment.saving import load_aligner, save_aligner
from rgb2act_core.errors import UserError
from rgb2act_core.spec import FusionChoice


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a small saved aligner."""
    aligner = build()
    save_aligner(tmp_path, aligner, FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny))
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    path = folder / "aligner.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


def test_a_loaded_aligner_is_frozen_and_in_eval_mode(folder: Path) -> None:
    aligner = load_aligner(folder)
    assert not aligner.training
    assert not any(parameter.requires_grad for parameter in aligner.parameters())
    assert aligner.fingerprints == ()


def test_an_older_format_is_an_error_that_names_both_formats(folder: Path) -> None:
    edit(folder, format=1, config=None, shape={})
    with pytest.raises(UserError, match=r"aligner\.json: .*format 1\b.*format 2\b.*train again"):
        load_aligner(folder)


@pytest.mark.parametrize("key", ["config", "fusion", "fingerprints"])
def test_a_missing_part_is_an_error(folder: Path, key: str) -> None:
    edit(folder, **{key: None})
    with pytest.raises(UserError, match=r"aligner\.json: .*delete its folder and run again"):
        load_aligner(folder)


def test_mismatched_weights_are_an_error(folder: Path) -> None:
    data = json.loads((folder / "aligner.json").read_text())
    edit(folder, config=data["config"] | {"mlp_dim": 5})
    with pytest.raises(UserError, match=r"(?s)aligner\.safetensors: .*train again"):
        load_aligner(folder)


def test_an_unknown_option_is_an_error(folder: Path) -> None:
    data = json.loads((folder / "aligner.json").read_text())
    edit(folder, config=data["config"] | {"unknown": 1})
    with pytest.raises(UserError, match="unknown"):
        load_aligner(folder)
