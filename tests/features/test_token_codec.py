"""Tokens on a coarser grid or as int8: stored, read and computed in control alike.

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
    stored_grid,
)
from rgb2act_core.spec import Tokens
from rgb2act_core.store.group_reader import read_group

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]


def random_tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# pooling


def test_pooling_weights_tokens_by_area() -> None:
    row = torch.tensor([0.0, 3.0, 6.0])[None, None, :, None]  # one row of three tokens
    pooled = encode_tokens(Tokens(grid=(1, 2)), row, (1, 3))["tokens"]
    # the first half covers the first token and half of the second
    assert pooled.flatten().tolist() == [1.0, 5.0]


def test_pooling_by_an_integer_factor_is_the_mean_of_blocks() -> None:
    tokens = random_tokens(2, 3, 12 * 8, 5)
    pooled = encode_tokens(Tokens(grid=(4, 2)), tokens, (12, 8))["tokens"]
    blocks = tokens.unflatten(2, (4, 3, 2, 4)).mean((3, 5)).flatten(2, 3)
    assert pooled.dtype == torch.float16
    # float16 rounds values below 4 by at most 2**-10
    assert torch.allclose(pooled.float(), blocks, atol=2.0**-10)


@pytest.mark.parametrize("grid", [(5, 7), (1, 1), (9, 3)])
def test_pooling_keeps_the_mean_and_constant_tokens(grid: tuple[int, int]) -> None:
    tokens = random_tokens(1, 2, 9 * 11, 4)
    pooled = encode_tokens(Tokens(grid=grid), tokens, (9, 11))["tokens"].float()
    # float16 rounds values below 4 by at most 2**-10, and so their mean
    assert torch.allclose(pooled.mean(2), tokens.mean(2), atol=2.0**-10)
    flat = encode_tokens(Tokens(grid=grid), torch.full((1, 2, 99, 4), 2.5), (9, 11))["tokens"]
    assert torch.equal(flat, torch.full_like(flat, 2.5))


def test_the_backbones_own_grid_changes_nothing() -> None:
    tokens = random_tokens(1, 1, 6, 4)
    encoded = encode_tokens(Tokens(grid=(2, 3)), tokens, (2, 3))
    assert torch.equal(encoded["tokens"], tokens.half())


def test_a_finer_grid_is_an_error() -> None:
    assert stored_grid(Tokens(grid=(2, 3)), (2, 4)) == (2, 3)
    with pytest.raises(UserError, match=r"extract.tokens.grid: \[3, 3\] is finer .* grid \[2, 4\]"):
        stored_grid(Tokens(grid=(3, 3)), (2, 4))


# int8


def test_int8_errs_by_at_most_half_a_scale() -> None:
    tokens = random_tokens(2, 2, 6, 32) * torch.logspace(-3, 3, 6)[:, None]
    encoded = encode_tokens(Tokens(dtype="int8"), tokens, (2, 3))
    int8, scales = encoded["tokens"], encoded["scales"]
    assert (int8.dtype, scales.dtype) == (torch.int8, torch.float32)
    assert torch.equal(scales, tokens.abs().amax(-1) / 127)
    assert int(int8.abs().max()) == 127
    rounding = 2.0**-11 * tokens.abs()  # of float16
    error = (decode_tokens(encoded).float() - tokens).abs()
    # float32 rounding of the quotient adds far less than 0.0001 of a scale
    assert bool((error <= 0.5001 * scales[..., None] + rounding).all())


def test_zeros_stay_zeros() -> None:
    encoded = encode_tokens(Tokens(dtype="int8"), torch.zeros(1, 1, 2, 8), (1, 2))
    assert not decode_tokens(encoded).any()


def test_stored_int8_is_read_as_control_computes_it() -> None:
    encoded = encode_tokens(Tokens(dtype="int8"), 30 * random_tokens(5, 2, 6, 32), (2, 3))
    read = DequantizedTokens(encoded["tokens"].numpy(), encoded["scales"].numpy())
    online = decode_tokens(encoded).numpy()
    assert np.array_equal(np.array(read), online)
    assert np.array_equal(read[3], online[3])
    assert np.array_equal(read[[4, 1]], online[[4, 1]])
    assert read.shape == online.shape
    table = EpisodeArrays([read, read])
    rows = table.gather(np.array([7, 0, 4]))
    assert rows.dtype == np.float16
    assert np.array_equal(rows, online[[2, 0, 4]])


@pytest.mark.parametrize(
    "form", [Tokens(), Tokens(dtype="int8"), Tokens(grid=(1, 2), dtype="int8")], ids=str
)
def test_bytes_of_equals_the_stored_bytes(form: Tokens) -> None:
    encoded = encode_tokens(form, random_tokens(1, 2, 6, 32), (2, 3))
    assert bytes_of(form, 2, (2, 3), 32) == sum(array[0].nbytes for array in encoded.values())


# in a run

FORMS: dict[str, dict[str, Any]] = {
    "pooled": {"grid": [1, 2]},
    "int8": {"dtype": "int8"},
    "both": {"grid": [2, 1], "dtype": "int8"},
}


@pytest.mark.parametrize("name", list(FORMS))
def test_control_sees_the_stored_tokens(
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
        # float32 means of at most 4 tokens in 0..1
        assert np.allclose(plain["pooled"][:], tokens.astype(np.float32).mean(2), atol=1e-6)
    policy = next((root / "store/policy").glob("*/policy.json"))
    expected = form.get("grid"), form.get("dtype", "float16")
    tokens = json.loads(policy.read_text())["tokens"]
    assert (tokens["grid"], tokens["dtype"]) == expected


def test_verify_reports_a_changed_array(cli: Cli, spec_file: SpecFile, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert cli("run", spec_file(extract={"tokens": FORMS["int8"]}), "--root", root).returncode == 0
    data = next((root / "store/features").glob("*/*/scales/c.0.0.0"))
    raw = bytearray(data.read_bytes())
    raw[2] ^= 1
    data.write_bytes(raw)
    done = cli("verify", "puppet", "--root", root)
    assert done.returncode == 1
    assert "scales" in done.stderr


def test_token_formats_do_not_share_features_and_the_default_keeps_its_key(
    cli: Cli, spec_file: SpecFile, puppet_root: Path
) -> None:
    def states(**changes: Any) -> dict[str, str]:
        done = cli("check", spec_file(**changes), "--root", puppet_root, "--json", "--no-time")
        assert done.returncode == 0, done.stderr
        return {s["stage"]: s["state"] for s in json.loads(done.stdout)["stages"]}

    assert set(states(extract={"tokens": {"dtype": "float16"}}).values()) == {"cached"}
    other = states(extract={"tokens": {"dtype": "int8"}})
    assert other["extract/puppet"] == "5 episodes to encode"
    assert other["teacher/puppet"] == "cached"
    assert other["align"] == other["train"] == "runs"


def test_an_impossible_grid_is_an_error_before_anything_is_recorded(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = spec_file(extract={"tokens": {"grid": [3, 2]}})
    for command in ("check", "run"):
        done = cli(command, spec, "--root", tmp_path / "root")
        assert done.returncode == 2
        assert "extract.tokens.grid: [3, 2] is finer than the backbone's grid [2, 2]" in done.stderr
    assert not (tmp_path / "root").exists()
    bad = cli("check", spec_file(extract={"tokens": {"grid": [0, 2]}}))
    assert "extract.tokens.grid: must be [rows, columns], each from 1 to 10000" in bad.stderr
