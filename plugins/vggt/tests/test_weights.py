"""Names cover the official file in both directions; other files are rejected."""

import os
import re
from pathlib import Path

import pytest
import torch
from rgb2act_vggt.backbone import load
from rgb2act_vggt.config import FULL, Vggt
from rgb2act_vggt.model import Network
from rgb2act_vggt.weights import NAMES, convert, rename, sizes_of
from safetensors.torch import save_file

from rgb2act_core import UserError
from rgb2act_core.weights import load_strict

DATA = Path(__file__).parent / "data"
ROW = re.compile(r"^  (\S+) +\[(.*)\] +x(\d+)")


def official():
    """Return key and shape of every tensor of the official aggregator, on the meta device."""
    tensors = {}
    for line in (DATA / "keys.txt").read_text().splitlines():
        if row := ROW.match(line):
            shape = [int(n) for n in row[2].split(", ")]
            for i in range(int(row[3])):
                tensors[row[1].replace("{i}", str(i))] = torch.empty(shape, device="meta")
    for name in ("register_token", "patch_embed.register_tokens"):
        shape = (1, 2, 4, 1024) if name == "register_token" else (1, 4, 1024)
        tensors[f"aggregator.{name}"] = torch.empty(shape, device="meta")
    return tensors


def content():
    return torch.load(DATA / "tiny.pt", weights_only=True)


def tokens(path, **options):
    frame = torch.arange(2 * 56 * 56 * 3).remainder(251).byte().view(1, 2, 1, 56, 56, 3)
    return load(Vggt(weights=str(path), size=56, context=2, **options)).encode(frame)


def test_names_cover_every_official_key_and_every_parameter_of_the_aggregator():
    tensors = official()
    assert len(tensors) == 1210
    found = convert(tensors, "official")
    assert sizes_of(found, "official") == FULL
    with torch.device("meta"):
        network = Network(FULL)
    load_strict(network, found, source="official")
    masked_and_position = 1024 + 1024  # mask_token, and a class token that holds its position
    count = sum(p.numel() for p in network.parameters())
    assert count == 909_112_320 - masked_and_position


def test_every_name_matches_a_key():
    short = (re.sub(r"\.(weight|bias)$", ".*", key) for key in official())
    forms = {re.sub(r"blocks\.\d+\.", "blocks.#.", key.partition(".")[2]) for key in short}
    assert set(NAMES) == forms


def test_a_missing_name_is_detected(monkeypatch):
    monkeypatch.delitem(NAMES, "global_blocks.#.ls2.gamma")
    with torch.device("meta"):
        network = Network(FULL)
    with pytest.raises(UserError, match=r"24 of \d+ keys missing"):
        load_strict(network, convert(official(), "x"), source="official")


def test_heads_are_ignored_and_unknown_keys_keep_their_name():
    assert rename("depth_head.norm.bias") is None
    assert rename("aggregator.frame_blocks.3.ls1.gamma") == "frame_blocks.3.attention_scale"
    for key in ("aggregator.blocks.0.norm1.weight", "aggregator.frame_blocks.x.ls1.gamma", "a.b"):
        assert rename(key) == key


def test_both_file_formats_give_the_same_features(tmp_path):
    save_file(content(), tmp_path / "model.safetensors")
    assert torch.equal(tokens(tmp_path / "model.safetensors"), tokens(DATA / "tiny.pt"))


def test_heads_are_not_built():
    assert "depth_head.norm.bias" in content()
    network = load(Vggt(weights=str(DATA / "tiny.pt"))).network
    assert {name.partition(".")[0] for name in network.state_dict()} == {
        "inner",
        "camera_tokens",
        "register_tokens",
        "frame_blocks",
        "global_blocks",
    }
    assert not any(p.requires_grad or p.is_meta for p in network.parameters())
    assert not any(b.is_meta for b in network.buffers())


@pytest.mark.parametrize("registers", [1, 6])
def test_the_number_of_registers_is_read_from_the_file(tmp_path, registers):
    tensors, draw = content(), torch.Generator().manual_seed(0)
    tensors["aggregator.register_token"] = torch.randn(1, 2, registers, 48, generator=draw)
    tensors["aggregator.patch_embed.register_tokens"] = torch.randn(1, 2, 48, generator=draw)
    torch.save(tensors, tmp_path / "a.pt")
    assert tokens(tmp_path / "a.pt").shape == (1, 1, 16, 96)


def test_mismatched_tensors_are_listed(tmp_path):
    tensors = content()
    del tensors["aggregator.patch_embed.norm.bias"]
    tensors["aggregator.extra.weight"] = torch.zeros(3)
    tensors["aggregator.frame_blocks.0.mlp.fc1.bias"] = torch.zeros(5)
    torch.save(tensors, tmp_path / "a.pt")
    with pytest.raises(UserError) as caught:
        tokens(tmp_path / "a.pt")
    missing, unexpected, misshapen = caught.value.args
    assert "keys missing: inner.norm.bias" in missing
    assert "1 keys unexpected: aggregator.extra.weight" in unexpected
    assert "frame_blocks.0.up.bias [5] instead of [192]" in misshapen


def test_another_models_file_is_refused(tmp_path):
    for strange in ({"storage_tokens": torch.zeros(1)}, {"model": {}}, {}):
        torch.save(strange, tmp_path / "a.pt")
        with pytest.raises(UserError, match="so it is not VGGT"):
            tokens(tmp_path / "a.pt")
    torch.save({"aggregator.camera_token": torch.zeros(1, 2, 1, 8)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="the aggregator is incomplete"):
        tokens(tmp_path / "a.pt")


def test_a_truncated_file_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes((DATA / "tiny.pt").read_bytes()[:300_000])
    with pytest.raises(UserError, match="is damaged or not a checkpoint"):
        tokens(tmp_path / "a.pt")


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_file_is_rejected_and_not_executed(tmp_path):
    torch.save({**content(), "x": Hostile(tmp_path / "marker")}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="would run"):
        tokens(tmp_path / "a.pt")
    assert not (tmp_path / "marker").exists()


def test_official_files_are_named():
    assert Vggt().official.repo == "facebook/VGGT-1B"
    commercial = Vggt(variant="1b-commercial").official
    assert commercial.accept == "https://huggingface.co/facebook/VGGT-1B-Commercial"
    with pytest.raises(ValueError, match="variant 'tiny' has no official weights"):
        Vggt(variant="tiny")
