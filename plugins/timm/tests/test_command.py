"""``rgb2act backbones --timm`` lists what a model offers."""

import json

from rgb2act_core.cli import main


def test_models_are_listed_with_tokens_for_an_image(capsys):
    assert main(["backbones", "--timm", "test_vit", "--image", "64x96", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rgb2act.backbones/1"
    assert found["total"] == len(found["models"])
    first = next(row for row in found["models"] if row["model"].startswith("test_vit."))
    assert first["tokens"] == [4, 6]
    assert (first["channels"], first["parameters"], first["problem"]) == (64, 306_240, "")


def test_the_table_is_cut_and_says_so(capsys):
    assert main(["backbones", "--timm", "resnet1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "parameters", "channels", "tokens", "licence"]
    assert len(lines) == 22
    assert lines[-1].endswith("more; --all lists them")


def test_no_model_is_an_exit_code(capsys):
    assert main(["backbones", "--timm", "no such"]) == 1
    assert "no model of timm has 'no such'" in capsys.readouterr().out


def test_a_wrong_image_size_is_refused(capsys):
    assert main(["backbones", "--timm", "test_", "--image", "64"]) == 2
    assert "--image '64'" in capsys.readouterr().err
