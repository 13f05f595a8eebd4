"""Keys, sizes and damage of official files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from rgb2act_ulip import build
from rgb2act_ulip.config import Ulip
from rgb2act_ulip.model import Network
from rgb2act_ulip.weights import convert, rename, sizes_of

from rgb2act_core import UserError
from rgb2act_core.interfaces import PointCloud
from rgb2act_core.weights import load_strict

DATA = Path(__file__).parent / "data"


def official_shapes():
    """Return every key of the full-size file with its shape, from the recorded list."""
    found = {}
    for line in (DATA / "keys.txt").read_text().splitlines():
        key, _, rest = line.strip().partition(" ")
        shape = tuple(int(n) for n in rest[rest.index("[") + 1 : rest.index("]")].split(",") if n)
        last = rest.rpartition("..['")[2].strip("']") if "{i}" in key else "0"
        first = rest.partition("['")[2].partition("'")[0] if "{i}" in key else "0"
        for i in range(int(first), int(last) + 1):
            found[key.replace("{i}", str(i))] = shape
    return found


def full_size(**other):
    shapes = official_shapes() | other
    return {
        key: torch.empty(shape, device="meta", dtype=torch.int64 if not shape else None)
        for key, shape in shapes.items()
    }


def saved(path, tensors, **extra):
    torch.save({"state_dict": tensors, "epoch": 3, **extra}, path)
    return str(path)


def tiny():
    return torch.load(DATA / "tiny.pt", weights_only=True)["state_dict"]


def test_the_list_of_keys_is_complete():
    shapes = official_shapes()
    assert len(shapes) == 227
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 33_483_394


def test_official_keys_and_parameters_match_one_to_one():
    """The encoder of full size, on the meta device: names and shapes agree."""
    config = Ulip()
    ours = convert(full_size(), "file")
    with torch.device("meta"):
        network = Network(sizes_of(ours, config, "file"))
    assert network.sizes == config.sizes
    load_strict(network, ours, source="file")


def test_keys_of_other_encoders_are_ignored():
    others = ("module.logit_scale", "module.open_clip_model.visual.proj", "image_projection")
    assert [rename(key) for key in others] == [None] * 3
    assert rename("module.point_encoder.new_part.weight") == "module.point_encoder.new_part.weight"


def test_the_optimiser_and_code_are_not_loaded(tmp_path):
    path = saved(tmp_path / "a.pt", tiny(), optimizer={"state": {0: {"exp_avg": torch.ones(3)}}})
    build(Ulip(weights=path, variant="tiny"))
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"state_dict": print}))
    with pytest.raises(UserError, match=r"evil\.pt"):
        build(Ulip(weights=str(tmp_path / "evil.pt"), variant="tiny"))


def test_the_older_file_is_detected_by_its_shapes():
    older = full_size(
        **{
            "module.point_encoder.encoder.first_conv.0.weight": (128, 3, 1),
            "module.pc_projection": (768, 512),
        }
    )
    ours = convert(older, "old.pt")
    found = sizes_of(ours, Ulip(variant="xyz", weights="old.pt"), "old.pt")
    assert (found.inputs, found.out) == (3, 512)
    with pytest.raises(UserError) as caught:
        sizes_of(ours, Ulip(), "old.pt")
    assert str(caught.value) == (
        "old.pt: has the sizes of variant 'xyz', not of 'xyzrgb'; set variant = 'xyz' or give"
        " another file"
    )


def test_the_older_checkpoint_ignores_colours(tmp_path):
    older = tiny()
    lift = "module.point_encoder.encoder.first_conv.0.weight"
    older[lift] = older[lift][:, :3].clone()
    path = saved(tmp_path / "old.pt", older)
    config = Ulip(weights=path, variant="xyz", heads=3, groups=24, group_size=8)
    built = build(config)
    draw = np.random.default_rng(0)
    xyz = draw.random((100, 3), dtype=np.float32)
    colours = draw.integers(0, 256, (100, 3), dtype=np.uint8)
    coloured, grey = (PointCloud(xyz=xyz, rgb=rgb) for rgb in (colours, np.full_like(colours, 100)))
    assert torch.equal(built.embed([coloured]), built.embed([grey]))
    assert built.info.dim == 40


@pytest.mark.parametrize(
    "missing", ["pc_projection", "reduce_dim.weight", "first_conv.1.running_var"]
)
def test_a_file_with_missing_tensors_is_rejected(tmp_path, missing):
    tensors = {key: value for key, value in tiny().items() if not key.endswith(missing)}
    with pytest.raises(UserError, match=r"a\.pt: .*; (give|download)"):
        build(Ulip(weights=saved(tmp_path / "a.pt", tensors), variant="tiny"))


def test_an_unknown_tensor_is_an_error_that_names_it(tmp_path):
    tensors = tiny() | {"module.point_encoder.extra.weight": torch.ones(2)}
    with pytest.raises(UserError, match=r"1 keys unexpected: point_encoder\.extra\.weight"):
        build(Ulip(weights=saved(tmp_path / "a.pt", tensors), variant="tiny"))


def test_a_tensor_of_the_wrong_shape_is_an_error_that_names_it(tmp_path):
    tensors = tiny()
    tensors["module.point_encoder.norm.weight"] = torch.ones(7)
    with pytest.raises(UserError, match=r"1 keys of another shape or kind: norm\.weight"):
        build(Ulip(weights=saved(tmp_path / "a.pt", tensors), variant="tiny"))


def test_the_older_file_cannot_be_downloaded():
    with pytest.raises(UserError, match="without colours"):
        build(Ulip(variant="xyz"))
