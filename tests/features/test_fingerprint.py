"""Other software, weights or devices that give other features are noticed before it matters."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_records import last_stages
from safetensors.torch import save_file

from rgb2act_core.errors import UserError
from rgb2act_core.features import fingerprint_checks
from rgb2act_core.features.encoder import Encoder
from rgb2act_core.features.fingerprint import (
    TOLERANCE,
    Fingerprint,
    probe_features,
    probe_image,
)
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.group_reader import read_group
from rgb2act_core.weights.download import cache_path

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
URL = "http://127.0.0.1:9/puppet"


def put(cache: Path, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the puppet's official weights into the cache."""
    monkeypatch.setenv("RGB2ACT_CACHE", str(cache))
    path = cache_path(URL, "puppet.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    save_file({"scale": torch.tensor([scale])}, path)


def build(**options: Any) -> Encoder:
    from rgb2act_puppet import Pixels, _backbone

    return Encoder(_backbone(Pixels(**options)), "cpu")


# the probe image


def test_probe_image_is_the_same_on_every_machine() -> None:
    frames = probe_image(2, (2, 24, 32))
    assert frames.shape == (2, 2, 24, 32, 3)
    assert frames.dtype == np.uint8
    assert int(frames.astype(np.int64).sum()) == PROBE_SUM
    assert not np.array_equal(frames[0], frames[1])  # frames differ
    assert not np.array_equal(frames[:, 0], frames[:, 1])  # and cameras
    assert frames.std() > 25


PROBE_SUM = 760_258


@pytest.mark.usefixtures("puppet")
def test_probe_features_use_the_full_context() -> None:
    shape = (1, 8, 8)
    one, two = probe_features(build(context=1), shape), probe_features(build(context=3), shape)
    assert one.shape == two.shape == (1, 5, 6)  # four tokens and their mean
    assert np.array_equal(one[..., :3], one[..., 3:])  # the mean over one frame is the frame
    assert not np.allclose(two[..., :3], two[..., 3:], rtol=0.01)


def test_large_features_give_a_small_fingerprint() -> None:
    class Large:
        info = type("Info", (), {"context": 1, "dim": 1024})

        def grid(self, height: int, width: int) -> tuple[int, int]:
            return 30, 30

        def encode(self, rgb: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(rgb), 2, 900, 1024)

    values = probe_features(Encoder(Large(), "cpu"), (2, 8, 8))  # type: ignore[arg-type]
    assert values.shape == (2, 17, 64)


# the error


def mark(values: np.ndarray[Any, Any]) -> Fingerprint:
    return Fingerprint(shape=(1, 8, 8), values=values.astype(np.float32), produced_by={})


def test_rounding_is_within_the_tolerance_and_other_features_are_not() -> None:
    values = np.random.default_rng(0).normal(size=(2, 17, 64)) * np.geomspace(1, 100, 64)
    reference = mark(values)
    assert reference.error(reference.values) == 0
    # float16 rounds by 2**-11 = 5e-4 of a value
    assert reference.error(values.astype(np.float16).astype(np.float32)) < 1e-3
    assert reference.error(1.05 * reference.values) == pytest.approx(
        0.05, rel=1e-3
    )  # float32 rounds values by 1e-7
    assert reference.error(reference.values[:, :, ::-1]) > 0.5
    assert reference.error(reference.values[:1]) == np.inf
    strong = reference.values.copy()
    strong[..., :32] *= 1.2  # only the weak half of the channels
    assert reference.error(strong) > TOLERANCE
    assert reference.error(np.full_like(reference.values, np.nan)) != 0


def test_a_channel_without_signal_does_not_dominate_the_error() -> None:
    values = np.random.default_rng(0).normal(size=(1, 17, 8))
    values[..., 0] = 1e-6
    changed = values.copy()
    changed[..., 0] = -1e-6
    assert mark(values).error(changed.astype(np.float32)) < 1e-3


@pytest.mark.parametrize("key", ["shape", "values", "made", "digest"])
def test_a_damaged_fingerprint_is_an_error(tmp_path: Path, key: str) -> None:
    data = mark(np.ones((1, 2, 3))).to_json()
    assert Fingerprint.from_json(data, tmp_path).digest == data["digest"]
    with pytest.raises(UserError, match="fingerprint is damaged"):
        Fingerprint.from_json({**data, key: None}, tmp_path / "x.json")
    with pytest.raises(UserError, match="fingerprint is damaged"):
        Fingerprint.from_json(data | {"values": [[[1.5, 1, 1], [1, 1, 1]]]}, tmp_path / "x.json")


# in a run


OFFICIAL = {"backbone": [{"use": "puppet", "weights": "hub"}]}


@pytest.fixture(scope="session")
def hub_done(cli: Cli, spec_in: SpecFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a finished run with official weights; tests must not change it."""
    folder = tmp_path_factory.mktemp("official")
    with pytest.MonkeyPatch.context() as monkeypatch:
        put(folder / "cache", 1.0, monkeypatch)
        done = cli("run", spec_in(folder, **OFFICIAL), "--root", folder / "root")
    assert done.returncode == 0, done.stderr
    return folder / "root"


@pytest.fixture
def hub(
    hub_done: Path, spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., Path], Path]:
    """Return a function that writes specs with official weights, and the root of a finished run."""
    put(tmp_path / "cache", 1.0, monkeypatch)
    return partial(spec_file, **OFFICIAL), Path(shutil.copytree(hub_done, tmp_path / "root"))


CHANGES: dict[str, dict[str, Any]] = {
    "extract": {"collect": {"episodes": 5}},
    "align": {"align": {"steps": 13}},
    "train": {"policy": {"steps": 13}},
    "act": {"act": {"episodes": 5}},
}


@pytest.mark.parametrize("stage", list(CHANGES))
def test_altered_weights_under_the_same_name_are_an_error(
    hub: tuple[Callable[..., Path], Path],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    spec, root = hub
    put(tmp_path / "cache", 1.1, monkeypatch)
    done = cli("run", spec(**CHANGES[stage]), "--root", root)
    assert done.returncode == 2, done.stderr
    assert (
        "no longer match the stored ones: error 0.1 on the probe image, tolerance 0.02"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    if stage != "act":  # a policy records only torch and the device
        assert "(weights sha256 " in done.stderr
    again = cli("run", spec(), "--root", root)  # finished stages are not checked again
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("stage", list(CHANGES))
def test_the_same_software_passes(
    hub: tuple[Callable[..., Path], Path], cli: Cli, stage: str
) -> None:
    spec, root = hub
    done = cli("run", spec(**CHANGES[stage]), "--root", root)
    assert done.returncode == 0, done.stderr


def test_a_small_error_is_accepted_and_recorded(
    hub: tuple[Callable[..., Path], Path],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, root = hub
    put(tmp_path / "cache", 1.01, monkeypatch)
    path = spec(collect={"episodes": 5}, act={"episodes": 5})
    done = cli("run", path, "--root", root)
    assert done.returncode == 0, done.stderr
    (folder,) = (root / "store/features").glob("puppet-????????????????")
    found = [read_group(entry).attributes for entry in folder.iterdir() if entry.is_dir()]
    errors = sorted(a["fingerprint_error"] for a in found)
    assert errors[0] == 0
    # weights are scaled by 1.01; features round to float16, 5e-4 of a value
    assert errors[-1] == pytest.approx(0.01, rel=0.1)
    assert len({a["fingerprint"] for a in found}) == 1
    stages = last_stages(root, "puppet")
    (act,) = [s for s in stages if s["stage"] == "act"]
    results = json.loads((root / act["path"] / "stage.json").read_text())["results"]
    assert results["fingerprint_errors"] == [pytest.approx(0.01, rel=0.1)]


def test_an_aligner_trained_on_other_features_is_an_error(
    hub: tuple[Callable[..., Path], Path],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, root = hub
    shutil.rmtree(root / "store/features")  # extracted again with other weights
    put(tmp_path / "cache", 1.1, monkeypatch)
    done = cli("run", spec(policy={"steps": 13}), "--root", root)
    assert done.returncode == 2, done.stderr
    assert "training features of puppet version 1 no longer match" in done.stderr


def test_verify_reports_altered_weights(
    hub: tuple[Callable[..., Path], Path],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, root = hub
    put(tmp_path / "cache", 1.1, monkeypatch)
    done = cli("verify", "puppet", "--root", root)
    assert done.returncode == 1
    assert "policy: features of puppet version 1 no longer match" in done.stderr


@pytest.mark.usefixtures("puppet")
def test_entries_with_different_fingerprints_are_an_error(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    (path,) = (puppet_root / "store/features").glob("*/fingerprint-*.json")
    reference = Fingerprint.from_json(json.loads(path.read_text()), path)
    other = Fingerprint(shape=reference.shape, values=reference.values * 1.001, produced_by={})
    path.write_text(json.dumps(other.to_json()))
    spec = read_spec(spec_file(align={"steps": 13}))
    with pytest.raises(UserError, match=r"features of 5 episodes .* have another fingerprint"):
        chain.run_pipeline(spec, puppet_root)
    path.unlink()
    with pytest.raises(UserError, match=r"fingerprint-1x8x8.json: file is missing; delete"):
        chain.run_pipeline(spec, puppet_root)


@pytest.mark.usefixtures("puppet")
def test_a_passed_check_is_not_repeated(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        fingerprint_checks, "probe_features", lambda *_: calls.append(1) or probe_features(*_)
    )
    chain.run_pipeline(read_spec(spec_file(align={"steps": 13})), puppet_root, "train")
    assert calls == []
    monkeypatch.setattr(fingerprint_checks, "processor", lambda: "abacus")
    chain.run_pipeline(read_spec(spec_file(align={"steps": 14})), puppet_root, "train")
    assert calls == [1]  # by align; train finds it proved
