"""Models of timm as students."""

import pytest
import torch
from rgb2act_timm.student import load_student
from rgb2act_timm.student_config import TimmStudent, TimmStudentConfig

from rgb2act_core import UserError
from rgb2act_core.interfaces import StudentShape

SHAPE = StudentShape(cameras=2, image=(60, 90), dim=5, tokens=(2, 3, 4))


@pytest.mark.parametrize("model", ["test_efficientnet", "test_resnet", "test_vit"])
def test_images_of_any_size_are_resized(model: str) -> None:
    config = TimmStudentConfig(model=model, weights="random", keypoints=2, hidden=8)
    student = load_student(config, SHAPE, pretrained=True).eval()
    output = student(torch.rand(3, 2, 3, 60, 90))
    assert output.vector.shape == (3, 5)
    assert output.tokens.shape == (3, 2, 6, 4)


def test_weights_are_read_only_for_a_new_student(tmp_path) -> None:
    config = TimmStudentConfig(model="test_resnet", weights=str(tmp_path / "absent.pth"))
    load_student(config, SHAPE, pretrained=False)
    with pytest.raises(Exception, match=r"absent.pth"):
        load_student(config, SHAPE, pretrained=True)


@pytest.mark.parametrize(
    ("model", "layer"),
    [("test_resnet", 0), ("test_resnet", None), ("test_vit", 2), ("test_convnext", "stride8")],
)
def test_later_layers_are_left_out(model: str, layer: int | str | None) -> None:
    config = TimmStudentConfig(model=model, layer=layer, weights="random", keypoints=2, hidden=8)
    assert TimmStudent(config).check(SHAPE) is None
    student = load_student(config, SHAPE, pretrained=True)
    output = student(torch.rand(2, 2, 3, 60, 90))
    (output.vector.sum() + output.tokens.sum()).backward()
    assert [name for name, p in student.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mixer_s32_224", "'mixer_s32_224' does not take images of 64x96"),
        ("inception_v3", "the map of an image of 64x96 has 2x4 positions"),
    ],
)
def test_images_that_a_model_does_not_take_are_told_before_training(
    model: str, message: str
) -> None:
    config = TimmStudentConfig(model=model, weights="random", keypoints=2, hidden=8)
    state = torch.random.get_rng_state()
    assert message in str(TimmStudent(config).check(SHAPE))
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(UserError, match=message):
        load_student(config, SHAPE, pretrained=False)
