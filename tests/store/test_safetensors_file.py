"""Safetensors files are written as the library reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rgb2act_core.store.safetensors_file import DTYPES, write_safetensors
from rgb2act_core.store.tensors import read_tensors, write_tensors


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_library_reads_each_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        "matrix": torch.arange(6).reshape(2, 3).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros((0, 4), dtype=dtype),
        "strided": torch.arange(8).to(dtype)[::2],
        "byte": torch.tensor([7], dtype=torch.uint8),
    }
    write_safetensors(tmp_path / "a.safetensors", tensors, {})
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_metadata_and_transposed_tensors_are_read_back(tmp_path: Path) -> None:
    tensor = torch.arange(6).reshape(2, 3).T
    write_tensors(tmp_path / "a.safetensors", {"x": tensor}, {"step": 3})
    tensors, meta = read_tensors(tmp_path / "a.safetensors")
    assert torch.equal(tensors["x"], tensor)
    assert meta == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
