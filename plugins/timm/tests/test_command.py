"""``rgb2act backbones --timm`` lists what a model offers."""

import json

import pytest
from rgb2act_timm.config import Timm
from rgb2act_timm.listing import describe
from rgb2act_timm.model import load

from rgb2act_core.cli import main


def test_models_are_listed_with_tokens_for_an_image(capsys):
    assert main(["backbones", "--timm", "test_vit", "--image", "64x96", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rgb2act.backbones/1"
    assert found["total"] == len(found["models"])
    first = next(row for row in found["models"] if row["model"].startswith("test_vit."))
    assert first["tokens"] == [4, 6]
    assert (first["channels"], first["parameters"], first["problem"]) == (64, 306_240, "")


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple sequence")
@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("swin_tiny_patch4_window7_224", (240, 320)),  # rounded to the coarsest stage's stride
        ("test_convnext", (240, 320)),
        ("test_vit", (70, 100)),
        ("mixer_s32_224", (224, 224)),
    ],
)
def test_the_listed_tokens_are_those_of_the_backbone(model, size):
    row = describe(model, *size)
    backbone = load(Timm(model=model, weights="random"))
    assert tuple(row["tokens"]) == backbone.grid(*size)
    assert (row["channels"], row["problem"]) == (backbone.info.dim, "")


def test_a_model_of_one_size_is_listed_without_tokens_for_others():
    row = describe("mixer_s32_224", 240, 320)
    assert row["tokens"] is None
    assert row["problem"].endswith("does not take images of 256x320; set size = 224")


def test_the_table_says_which_models_do_not_take_an_image(capsys):
    assert main(["backbones", "--timm", "mixer_s32_224"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not for this size" in lines[1]
    assert lines[-1] == "--json adds the reason where a model has no tokens for this image"


def test_the_table_is_cut_and_says_so(capsys):
    assert main(["backbones", "--timm", "resnet1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "parameters", "channels", "tokens", "licence"]
    assert len(lines) == 22
    assert lines[-1].endswith("more; --all lists them")


def test_a_shell_pattern_matches_whole_names(capsys):
    assert main(["backbones", "--timm", "VIT_small*14_dinov2.*"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == ["vit_small_patch14_dinov2.lvd142m"]
    assert main(["backbones", "--timm", "small*14_dinov2.*"]) == 1


def test_no_model_is_an_exit_code(capsys):
    assert main(["backbones", "--timm", "no such"]) == 1
    assert "no name of a model of timm contains 'no such'" in capsys.readouterr().out


def test_a_wrong_image_size_is_refused(capsys):
    for size in ("64", "64x", "0x64", "64x9999", "9" * 5000 + "x64"):
        assert main(["backbones", "--timm", "test_", "--image", size]) == 2
        assert f"--image '{size[:20]}" in capsys.readouterr().err
