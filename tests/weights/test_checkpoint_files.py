"""Reading checkpoints without running their code."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rgb2act_core import UserError
from rgb2act_core.weights import (
    read_checkpoint,
)


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(3, generator=generator),
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_safetensors_are_read(tmp_path):
    save_file(tensors(), tmp_path / "a.safetensors")
    assert same(read_checkpoint(tmp_path / "a.safetensors"), tensors())


@pytest.mark.parametrize("modern", [True, False])
def test_files_of_torch_keep_nested_containers(tmp_path, modern):
    content = {"model": tensors(), "kwargs": {"depth": 3, "size": (2, 2), "pos": "RoPE100"}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=modern)
    found = read_checkpoint(tmp_path / "a.pth")
    assert same(found["model"], tensors())
    assert found["kwargs"] == content["kwargs"]


def test_harmless_types_of_training_scripts_are_read(tmp_path):
    content = {
        "state_dict": tensors(),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
    }
    torch.save(content, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")
    assert found["args"].lr == 0.1
    assert found["best"] == 0.5


def test_shards_are_merged(tmp_path):
    full = tensors()
    for key in full:
        save_file({key: full[key]}, tmp_path / f"{key}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: f"{key}.safetensors" for key in full}}))
    assert same(read_checkpoint(index), full)
    assert same(read_checkpoint(tmp_path), full)
    (tmp_path / "bias.safetensors").unlink()
    with pytest.raises(UserError, match=r"1 of 2 shards are missing: bias\.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "..", 3, "x" * 5000])
def test_an_index_cannot_name_files_outside_its_folder(tmp_path, name):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="index"):
        read_checkpoint(index)


def test_standard_hugging_face_names_take_precedence(tmp_path):
    for name in ("adapter", "model"):
        save_file({name: torch.ones(1)}, tmp_path / f"{name}.safetensors")
    assert list(read_checkpoint(tmp_path)) == ["model"]


def test_a_folder_with_two_checkpoints_is_ambiguous(tmp_path):
    for name in ("a", "b"):
        save_file(tensors(), tmp_path / f"{name}.safetensors")
    with pytest.raises(UserError, match=r"several checkpoints \(a\.safetensors, b\.safetensors\)"):
        read_checkpoint(tmp_path)


def test_a_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(UserError, match=r"contains no checkpoint"):
        read_checkpoint(tmp_path)
    save_file(tensors(), tmp_path / "b.safetensors")
    assert same(read_checkpoint(tmp_path), tensors())


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(UserError, match=r"^/proc/self/mem: cannot be read \(input/output error\)"):
        read_checkpoint(Path("/proc/self/mem"))


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("modern", [True, False])
def test_a_file_with_code_is_rejected_and_not_run(tmp_path, modern):
    path, marker = tmp_path / "a.pth", tmp_path / "marker"
    content = {**tensors(), "x": Hostile(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    with pytest.raises(UserError, match=r"was not loaded because it would run '\w+\.system'"):
        read_checkpoint(path)
    assert not marker.exists()


def test_files_that_are_not_checkpoints_are_named(tmp_path):
    page = tmp_path / "page.pth"
    page.write_text("<html>not found</html>")
    with pytest.raises(
        UserError, match=r"page\.pth: is a web page, not weights; accept the licence"
    ):
        read_checkpoint(page)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    with pytest.raises(UserError, match=r"empty\.safetensors: is damaged or not a checkpoint"):
        read_checkpoint(empty)
    pointer = tmp_path / "pointer.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        read_checkpoint(pointer)
    bare = tmp_path / "bare.pth"
    torch.save(torch.zeros(3), bare)
    with pytest.raises(UserError, match="contains a Tensor instead of named tensors"):
        read_checkpoint(bare)
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "old"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_reported_as_damaged(tmp_path, suffix, keep):
    path, full = tmp_path / f"a.{suffix}", {"a": torch.ones(2000)}
    if suffix == "safetensors":
        save_file(full, path)
    else:
        torch.save(full, path, _use_new_zipfile_serialization=suffix == "pth")
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(UserError, match="is damaged or not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("shape", [[2**63, 0], [0, 2**64 - 1]])
def test_an_impossible_shape_of_safetensors_is_told(tmp_path, shape):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match=r"a\.safetensors: is damaged or not a checkpoint"):
        read_checkpoint(path)


def test_a_safetensors_file_with_too_many_names_is_refused(tmp_path):
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = ("{" + ",".join(entry % i for i in range(400_000)) + "}").encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match=r"its header has 2\d,\d+,\d+ bytes"):
        read_checkpoint(path)
