"""Tokens on a coarser grid or as int8: what is stored, what is read, what control sees.

Shapes: B = frames, V = cameras, N = patches, C = channels
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from rgb2act_core.errors import UserError
from rgb2act_core.features.reader import DequantizedTokens, EpisodeArrays, tokens_of
from rgb2act_core.features.token_codec import (
    bytes_of,
    decode_tokens,
    encode_tokens,
    split_scales,
    stored_grid,
)
from rgb2act_core.spec import Tokens
from rgb2act_core.store.group_reader import read_group

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# pooling


def test_pooling_weighs_by_area() -> None:
    row = torch.tensor([0.0, 3.0, 6.0])[None, None, :, None]  # one row of three tokens
    pooled = encode_tokens(Tokens(grid=(1, 2)), row, (1, 3))
    # the first half covers the first token and half of the second
    assert pooled.flatten().tolist() == [1.0, 5.0]


def test_pooling_by_whole_numbers_is_the_mean_of_blocks() -> None:
    tokens = draw(2, 3, 12 * 8, 5)
    pooled = encode_tokens(Tokens(grid=(4, 2)), tokens, (12, 8))
    blocks = tokens.unflatten(2, (4, 3, 2, 4)).mean((3, 5)).flatten(2, 3)
    assert pooled.dtype == torch.float16
    assert torch.allclose(pooled.float(), blocks, atol=1e-3)


@pytest.mark.parametrize("grid", [(5, 7), (1, 1), (9, 3)])
def test_pooling_keeps_the_mean_and_what_is_constant(grid: tuple[int, int]) -> None:
    tokens = draw(1, 2, 9 * 11, 4)
    pooled = encode_tokens(Tokens(grid=grid), tokens, (9, 11)).float()
    assert torch.allclose(pooled.mean(2), tokens.mean(2), atol=2e-3)
    flat = encode_tokens(Tokens(grid=grid), torch.full((1, 2, 99, 4), 2.5), (9, 11))
    assert torch.equal(flat, torch.full_like(flat, 2.5))


def test_the_own_grid_changes_nothing() -> None:
    tokens = draw(1, 1, 6, 4)
    assert torch.equal(encode_tokens(Tokens(grid=(2, 3)), tokens, (2, 3)), tokens.half())


def test_a_finer_grid_is_refused() -> None:
    assert stored_grid(Tokens(grid=(2, 3)), (2, 4)) == (2, 3)
    with pytest.raises(UserError, match=r"extract.tokens.grid: \[3, 3\] is finer .* own \[2, 4\]"):
        stored_grid(Tokens(grid=(3, 3)), (2, 4))


# int8


def test_int8_is_off_by_half_a_scale_at_most() -> None:
    tokens = draw(2, 2, 6, 32) * torch.logspace(-3, 3, 6)[:, None]
    form = Tokens(dtype="int8")
    packed = encode_tokens(form, tokens, (2, 3))
    whole, scales = split_scales(packed)
    assert (whole.dtype, scales.dtype) == (torch.int8, torch.float32)
    assert torch.equal(scales, tokens.abs().amax(-1) / 127)
    assert int(whole.abs().max()) == 127
    rounding = 2.0**-11 * tokens.abs()  # of float16
    wrong = (decode_tokens(form, packed).float() - tokens).abs()
    assert bool((wrong <= 0.5001 * scales[..., None] + rounding).all())


def test_zeros_stay_zeros() -> None:
    form = Tokens(dtype="int8")
    assert not decode_tokens(form, encode_tokens(form, torch.zeros(1, 1, 2, 8), (1, 2))).any()


def test_stored_int8_is_read_as_control_computes_it() -> None:
    form = Tokens(dtype="int8")
    packed = encode_tokens(form, 30 * draw(5, 2, 6, 32), (2, 3))
    whole, scales = split_scales(packed)
    read = DequantizedTokens(whole.numpy(), scales.numpy())
    seen = decode_tokens(form, packed).numpy()
    assert np.array_equal(np.array(read), seen)
    assert np.array_equal(read[3], seen[3])
    assert np.array_equal(read[[4, 1]], seen[[4, 1]])
    assert read.shape == seen.shape
    table = EpisodeArrays([read, read])
    rows = table.gather(np.array([7, 0, 4]))
    assert rows.dtype == np.float16
    assert np.array_equal(rows, seen[[2, 0, 4]])


@pytest.mark.parametrize(
    "form", [Tokens(), Tokens(dtype="int8"), Tokens(grid=(1, 2), dtype="int8")], ids=str
)
def test_bytes_are_those_that_are_stored(form: Tokens) -> None:
    packed = encode_tokens(form, draw(1, 2, 6, 32), (2, 3))
    assert bytes_of(form, 2, (2, 3), 32) == packed[0].nbytes


# in a run

FORMS: dict[str, dict[str, Any]] = {
    "pooled": {"grid": [1, 2]},
    "int8": {"dtype": "int8"},
    "both": {"grid": [2, 1], "dtype": "int8"},
}


@pytest.mark.parametrize("name", list(FORMS))
def test_what_acts_sees_what_was_stored(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, name: str
) -> None:
    form, root = FORMS[name], tmp_path / "root"
    spec = spec_file(extract={"tokens": form})
    done = cli("run", spec, "--root", root)
    assert done.returncode == 0, done.stderr
    verified = cli("verify", "puppet", "--root", root)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (folder,) = (root / "store/features").glob("puppet-????????????????")
    rows, columns = form.get("grid", [2, 2])
    for entry in (path for path in folder.iterdir() if path.is_dir()):
        group, plain = read_group(entry), zarr.open_group(entry, mode="r")
        assert group.attributes["grid"] == [rows, columns]
        assert group.attributes["backbone_grid"] == [2, 2]
        tokens = np.asarray(plain["tokens"][:])
        assert tokens.shape[2] == rows * columns
        if form.get("dtype") == "int8":
            assert tokens.dtype == np.int8
            values = tokens * np.asarray(plain["scales"][:])[..., None]
            tokens = values.astype(np.float16)
        assert np.array_equal(np.array(tokens_of(group)), tokens)
        assert np.allclose(plain["pooled"][:], tokens.astype(np.float32).mean(2), atol=1e-6)
    policy = next((root / "store/policy").glob("*/policy.json"))
    wanted = form.get("grid"), form.get("dtype", "float16")
    tokens = json.loads(policy.read_text())["tokens"]
    assert (tokens["grid"], tokens["dtype"]) == wanted


def test_a_changed_array_is_noticed_by_verify(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert cli("run", spec_file(extract={"tokens": FORMS["int8"]}), "--root", root).returncode == 0
    data = next((root / "store/features").glob("*/*/scales/c.0.0.0"))
    raw = bytearray(data.read_bytes())
    raw[2] ^= 1
    data.write_bytes(raw)
    done = cli("verify", "puppet", "--root", root)
    assert done.returncode == 1
    assert "scales" in done.stderr


def test_forms_do_not_share_features_and_the_plain_form_keeps_its_key(
    cli: Cli, spec_file: SpecFile, puppet_root: Path
) -> None:
    def states(**changes: Any) -> dict[str, str]:
        done = cli("check", spec_file(**changes), "--root", puppet_root, "--json")
        assert done.returncode == 0, done.stderr
        return {s["stage"]: s["state"] for s in json.loads(done.stdout)["stages"]}

    assert set(states(extract={"tokens": {"dtype": "float16"}}).values()) == {"cached"}
    other = states(extract={"tokens": {"dtype": "int8"}})
    assert other["extract/puppet"] == "5 episodes to encode"
    assert other["teacher/puppet"] == "cached"
    assert other["align"] == other["train"] == "runs"


def test_a_grid_that_cannot_be_is_told_before_anything_is_recorded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(extract={"tokens": {"grid": [3, 2]}})
    for command in ("check", "run"):
        done = cli(command, spec, "--root", tmp_path / "root")
        assert done.returncode == 2
        assert "extract.tokens.grid: [3, 2] is finer than the backbone's own [2, 2]" in done.stderr
    assert not (tmp_path / "root").exists()
    bad = cli("check", spec_file(extract={"tokens": {"grid": [0, 2]}}))
    assert "extract.tokens.grid: must be [rows, columns], each at least 1" in bad.stderr
