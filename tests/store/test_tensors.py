"""Safetensors files of the store are compared with their checksums when they are read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rgb2act_core.errors import UserError
from rgb2act_core.store.tensors import read_tensors, read_with_digest, write_tensors

TENSORS = {
    "weight": torch.arange(12.0).reshape(3, 4),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
    "step": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


def test_tensors_metadata_and_digest_are_read_back(tmp_path: Path) -> None:
    digest = write_tensors(tmp_path / "a", TENSORS, {"step": 3})
    tensors, meta, found = read_with_digest(tmp_path / "a")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert (meta, found) == ({"step": 3}, digest)


def test_digest_depends_on_values_names_and_shapes(tmp_path: Path) -> None:
    contents = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.ones(4)},
    ]
    assert len({write_tensors(tmp_path / "a", content, {}) for content in contents}) == 4


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "a", {"rgb2act": json.dumps({"step": 1})})
    tensors, meta, digest = read_with_digest(tmp_path / "a")
    assert (tensors["a"].tolist(), meta, digest) == ([1, 1], {"step": 1}, None)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_every_altered_byte_is_found(tmp_path: Path, at: float, change: int) -> None:
    path, sound = tmp_path / "a", tmp_path / "sound"
    if not sound.exists():
        write_tensors(sound, TENSORS, {})
    data = bytearray(sound.read_bytes())
    data[int(at * len(data))] ^= change
    path.write_bytes(bytes(data))
    try:
        tensors, meta = read_tensors(path)
    except UserError as err:
        assert str(path) in str(err)  # noqa: PT017 a change of unused bytes raises nothing
    else:  # padding of the header
        assert meta == {}
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
