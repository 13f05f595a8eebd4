"""Names cover the official file in both directions; other files are rejected."""

import os
import re
from pathlib import Path

import pytest
import torch
from rgb2act_croco.config import OFFICIAL, Architecture, Croco
from rgb2act_croco.model import Encoder, load, sinusoids
from rgb2act_croco.weights import NAMES, UNUSED, architecture, ours, rename

from rgb2act_core import UserError
from rgb2act_core.weights import load_strict

DATA = Path(__file__).parent / "data"
ROW = re.compile(r"^  (\S+) +\[(.*)\] +x(\d+)")
V1 = {"enc_pos_embed", "dec_pos_embed"}  # not in the recorded v2 file


def recorded():
    """Return key and shape of every tensor of the official ViT-L file, on the meta device."""
    tensors = {}
    for line in (DATA / "keys.txt").read_text().splitlines():
        if row := ROW.match(line):
            shape = [int(n) for n in row[2].split(", ")]
            for i in range(int(row[3])):
                tensors[row[1].replace("{i}", str(i))] = torch.empty(shape, device="meta")
    return tensors


def content():
    return torch.load(DATA / "tiny.pth", weights_only=True)


def written(path, content):
    torch.save(content, path)
    return Croco(weights=str(path), size=64)


def test_names_cover_every_official_key_and_every_parameter_of_the_encoder():
    tensors = recorded()
    assert len(tensors) == 587
    with torch.device("meta"):
        encoder = Encoder(OFFICIAL["v2-large"][1])
    load_strict(encoder, rename(tensors), source="official")
    assert sum(p.numel() for p in encoder.parameters()) == 303_098_880


def test_every_name_matches_a_key():
    found = {re.sub(r"\.\d+\.", ".#.", re.sub(r"(weight|bias)$", "*", key)) for key in recorded()}
    assert set(NAMES) | UNUSED == found | V1


def test_a_missing_name_is_detected(monkeypatch):
    monkeypatch.delitem(NAMES, "enc_blocks.#.mlp.fc1.*")
    with torch.device("meta"):
        encoder = Encoder(OFFICIAL["v2-large"][1])
    with pytest.raises(UserError, match="48 of 292 keys missing"):
        load_strict(encoder, rename(recorded()), source="official")


def test_unknown_keys_keep_their_name():
    assert ours("enc_blocks.7.attn.qkv.bias") == "blocks.7.attention.qkv.bias"
    assert ours("dec_blocks.0.norm_y.weight") is None
    for key in ("enc_blocks.x.attn.qkv.bias", "enc_blocks.1.attn.q_norm.bias", "head.weight", "a"):
        assert ours(key) == key


def test_the_architecture_is_read_from_the_file():
    backbone = load(Croco(weights=str(DATA / "tiny.pth"), size=64, variant="v2-base"))
    expected = Architecture(dim=48, depth=3, heads=3, rope=100.0, image=(64, 64))
    assert backbone.encoder.architecture == expected
    assert backbone.info.dim == 48


def test_a_file_without_a_version_is_v1():
    assert architecture({}, Path("x")) == OFFICIAL["v1-base"][1]


def v1_content():
    content_ = content()
    content_["croco_kwargs"]["pos_embed"] = "cosine"
    return content_


def test_added_positions_are_taken_from_the_file_or_computed(tmp_path):
    computed = load(written(tmp_path / "a.pth", v1_content())).encoder
    expected = sinusoids(computed.architecture)
    assert torch.equal(computed.positions, expected)
    with_positions = v1_content()
    with_positions["model"] |= {"enc_pos_embed": expected + 1, "dec_pos_embed": torch.zeros(16, 32)}
    read = load(written(tmp_path / "b.pth", with_positions)).encoder
    assert torch.equal(read.positions, expected + 1)


def test_weights_are_mapped_and_frozen():
    backbone = load(Croco(weights=str(DATA / "tiny.pth"), size=64))
    assert not backbone.encoder.training
    assert not any(p.requires_grad or p.is_meta for p in backbone.encoder.parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enc_depth", "3"),
        ("enc_num_heads", 0),
        ("patch_size", True),
        ("pos_embed", "learned"),
        ("pos_embed", 100),
        ("mlp_ratio", None),
        ("img_size", (64, 64, 64)),
    ],
)
def test_unknown_settings_are_rejected(tmp_path, key, value):
    content_ = content()
    content_["croco_kwargs"][key] = value
    with pytest.raises(UserError, match=rf"croco_kwargs\['{key}'\] is .*, which is unknown"):
        load(written(tmp_path / "a.pth", content_))


def test_mismatched_tensors_are_listed(tmp_path):
    content_ = content()
    model = content_["model"]
    del model["enc_norm.bias"]
    model["extra.weight"] = torch.zeros(3)
    model["enc_blocks.0.mlp.fc1.bias"] = torch.zeros(5)
    with pytest.raises(UserError) as caught:
        load(written(tmp_path / "a.pth", content_))
    missing, unexpected, misshapen = caught.value.args
    assert "1 of 40 keys missing: norm.bias" in missing
    assert "1 keys unexpected: extra.weight" in unexpected
    assert "blocks.0.widen.bias [5] instead of [192]" in misshapen


def test_a_rotary_file_with_added_positions_is_refused(tmp_path):
    content_ = content()
    content_["model"]["enc_pos_embed"] = torch.zeros(16, 48)
    with pytest.raises(UserError, match="unexpected: positions"):
        load(written(tmp_path / "a.pth", content_))


def test_another_models_file_is_refused(tmp_path):
    for strange in ({"aggregator.camera_token": torch.zeros(1)}, {"model": {}}, {"model": 3}, {}):
        with pytest.raises(UserError, match="is not a CroCo checkpoint"):
            load(written(tmp_path / "a.pth", strange))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes((DATA / "tiny.pth").read_bytes()[:300_000])
    with pytest.raises(UserError, match="is damaged or not a checkpoint"):
        load(Croco(weights=str(path)))


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_file_is_rejected_and_not_executed(tmp_path):
    config = written(tmp_path / "a.pth", {**content(), "x": Hostile(tmp_path / "marker")})
    with pytest.raises(UserError, match="would run"):
        load(config)
    assert not (tmp_path / "marker").exists()


def test_each_variant_has_an_official_file():
    for variant, (filename, _, _) in OFFICIAL.items():
        official = Croco(variant=variant).official
        assert (
            official.url == f"https://download.europe.naverlabs.com/ComputerVision/CroCo/{filename}"
        )
