"""Errors of saved aligners."""

import json
import re
from pathlib import Path

import pytest
import torch
from small_aligner import WEIGHTED, build

from rgb2act_core.alignment.saving import load_aligner, save_aligner
from rgb2act_core.errors import UserError
from rgb2act_core.spec import FusionChoice
from rgb2act_core.store.model_files import load_weights, read_model_json, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a small saved aligner."""
    aligner = build()
    save_aligner(tmp_path, aligner, FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny))
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    """Change the config as an older version would have written it, without a digest."""
    path = folder / "aligner.json"
    data = json.loads(path.read_text()) | {"record_digest": None} | changes
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


def test_altered_weights_are_refused_and_the_tensor_is_named(folder: Path) -> None:
    path = folder / "aligner.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x80
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"aligner\.safetensors: tensor '.+' was altered; delete"):
        load_aligner(folder)


def test_altered_config_is_refused(folder: Path) -> None:
    path = folder / "aligner.json"
    data = json.loads(path.read_text())
    data["config"]["mlp_dim"] += 1
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"aligner\.json: was altered after it was written"):
        load_aligner(folder)


def test_weights_of_another_aligner_are_refused(folder: Path, tmp_path: Path) -> None:
    other = build()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    (tmp_path / "other").mkdir()
    choice = FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny)
    save_aligner(tmp_path / "other", other, choice)
    (tmp_path / "other" / "aligner.safetensors").replace(folder / "aligner.safetensors")
    with pytest.raises(UserError, match=r"safetensors: does not belong to aligner\.json; delete"):
        load_aligner(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    aligner = build()
    name, parameter = next(iter(aligner.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = value
    save_aligner(tmp_path, aligner, FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny))
    with pytest.raises(UserError, match=f"tensor '{re.escape(name)}' contains NaN or infinity"):
        load_aligner(tmp_path)


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_buffers_may_be_infinite_but_not_nan(tmp_path: Path, value: str) -> None:
    module = torch.nn.Linear(2, 2)
    module.register_buffer("mask", torch.tensor([0.0, -float(value)]))
    save_model(tmp_path, "head", module, {})
    path = tmp_path / "head.safetensors"
    data = read_model_json(tmp_path / "head.json")
    if value == "nan":
        with pytest.raises(UserError, match="tensor 'mask' contains NaN or infinity"):
            load_weights(path, module, data)
    else:
        assert load_weights(path, module, data) is module
