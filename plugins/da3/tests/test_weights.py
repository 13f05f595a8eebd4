import re
from pathlib import Path

import attrs
import pytest
import torch
from rgb2act_da3 import build
from rgb2act_da3.config import DA3, VARIANTS
from rgb2act_da3.model import Network
from rgb2act_da3.weights import PREFIX, convert, rename, sizes_of
from safetensors.torch import load_file, save_file

from rgb2act_core import UserError
from rgb2act_core.interfaces.fields import Mark, is_marked

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny.weights.safetensors"
COUNTS = {  # backbone parameters of the official files
    "small": 22_059_008,
    "base": 86_583_296,
    "large-1.1": 304_373_760,
    "giant-1.1": 1_136_489_216,
}


def recorded(variant):
    """Return shapes by upstream key of a full-size checkpoint."""
    shapes, wanted = {}, False
    for line in (DATA / "keys.txt").read_text().splitlines():
        if line.startswith("##"):
            wanted = f"da3-{variant} " in line
        elif wanted:
            found = re.fullmatch(r" *(\S+) +\[(.*?)\] +x(\d+) *(.*)", line)
            key, shape, count, ends = found.groups()
            low, high = map(int, re.findall(r"\d+", ends) or ("0", "0"))
            for i in range(int(count)):  # evenly spread from the first number to the last
                number = low + (high - low) * i // max(int(count) - 1, 1)
                shapes[key.replace("{i}", str(number))] = [int(n) for n in shape.split(", ")]
    return shapes


def meta_network(sizes):
    with torch.device("meta"):
        return Network(sizes)


@pytest.mark.parametrize(("variant", "tensors"), [("large", 411), ("giant", 679)])
def test_recorded_keys_and_parameters_match_one_to_one(variant, tensors):
    upstream = recorded(variant)
    assert len(upstream) == tensors
    ours = {rename(key): shape for key, shape in upstream.items()}
    ours.pop(None)  # camera decoder
    network = meta_network(VARIANTS[variant])
    assert ours == {name: list(t.shape) for name, t in network.state_dict().items()}


@pytest.mark.parametrize("variant", COUNTS)
def test_full_size_networks_have_the_official_number_of_parameters(variant):
    network = meta_network(VARIANTS[variant])
    assert sum(p.numel() for p in network.parameters()) == COUNTS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_read_from_any_variants_tensors(variant):
    sizes = VARIANTS[variant]
    assert sizes_of(meta_network(sizes).state_dict(), "weights") == sizes


def test_a_full_size_file_is_in_memory_once():
    """Float32 weights of the file become the network's, without a copy."""
    tensors = convert(load_file(TINY), "weights")
    network = meta_network(VARIANTS["tiny"])
    from rgb2act_core.weights import load_strict

    load_strict(network, tensors, source="weights", dtype=torch.float32)
    assert network.norm.weight.data_ptr() == tensors["norm.weight"].data_ptr()


def test_heads_are_ignored_and_unknown_keys_keep_their_name():
    assert rename("model.head.norm.weight") is None
    assert rename("model.cam_enc.token_norm.bias") is None
    assert rename(f"{PREFIX}blocks.3.attn.qkv.weight") == "blocks.3.attention.qkv.weight"
    for unknown in ("model.extra", f"{PREFIX}register_tokens", f"{PREFIX}blocks.0.attn.extra"):
        assert rename(unknown) == unknown


@pytest.mark.parametrize("variant", ["tiny", "file"])
def test_a_file_is_loaded_with_and_without_a_variant(variant):
    backbone = build(DA3(weights=str(TINY), variant=variant, size=56))
    assert backbone.network.sizes == VARIANTS["tiny"]
    assert backbone.info.dim == 96


def changed(tmp_path, change):
    tensors = load_file(TINY)
    change(tensors)
    save_file(tensors, tmp_path / "changed.safetensors")
    return DA3(weights=str(tmp_path / "changed.safetensors"), variant="tiny")


def drop(tensors):
    del tensors[f"{PREFIX}blocks.4.mlp.fc1.bias"]


def add(tensors):
    tensors[f"{PREFIX}register_tokens"] = torch.zeros(1, 4, 48)


def reshape(tensors):
    tensors[f"{PREFIX}norm.weight"] = torch.ones(47)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"blocks\.4\.mlp\.up\.bias"),
        (add, r"register_tokens"),
        (reshape, r"norm\.weight \[47\]"),
    ],
)
def test_mismatched_keys_are_listed(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        build(changed(tmp_path, change))


def test_another_model_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"aggregator.camera_token": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="so it is not Depth Anything 3"):
        build(DA3(weights=str(path), variant="base"))


def test_an_incomplete_backbone_is_rejected(tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({f"{PREFIX}cls_token": torch.zeros(1, 1, 48)}, path)
    with pytest.raises(UserError, match="the backbone is incomplete"):
        build(DA3(weights=str(path), variant="base"))


def test_the_file_of_another_variant_is_named():
    with pytest.raises(UserError, match="has the sizes of variant 'tiny', not of 'base'"):
        build(DA3(weights=str(TINY), variant="base"))


def test_layers_of_a_file_are_checked_when_its_sizes_are_known():
    with pytest.raises(UserError, match=r"da3\.layers: must be one or more of -6 to 5, got \[6\]"):
        build(DA3(weights=str(TINY), variant="file", layers=(6,)))


def test_official_files_are_named_as_on_the_hub():
    repos = {v: DA3(variant=v).official.repo for v in VARIANTS if v != "tiny"}
    assert repos["small"] == "depth-anything/DA3-SMALL"
    assert repos["giant-1.1"] == "depth-anything/DA3-GIANT-1.1"
    assert repos["mono-large"] == "depth-anything/DA3MONO-LARGE"
    assert repos["metric-large"] == "depth-anything/DA3METRIC-LARGE"
    assert DA3(variant="large-1.1").official.licence == "CC BY-NC 4.0"
    assert DA3(variant="base").official.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": (12,)}, "layers: must be one or more of"),
        ({"layers": ()}, "layers: must be one or more of"),
        (
            {"variant": "mono-large", "context": 2},
            "context: variant 'mono-large' encodes single frames",
        ),
        ({"variant": "file"}, "weights: 'hub' is not a file to read the sizes from"),
        ({"variant": "tiny"}, "weights: variant 'tiny' has no official weights"),
        ({"context": 0}, "must be >= 1"),
    ],
)
def test_invalid_configs_are_rejected(fields, message):
    with pytest.raises(ValueError, match=message):
        DA3(**fields)


def test_fields_of_weights_are_marked():
    assert is_marked(attrs.fields(DA3).weights, Mark.WEIGHTS)
