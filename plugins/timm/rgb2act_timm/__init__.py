"""The models of timm as backbones and students.

Light: timm is imported when a model is built or listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rgb2act_core import Command, Component, hookimpl

from . import command
from .config import Timm
from .student_config import TimmStudent, TimmStudentConfig

if TYPE_CHECKING:
    from rgb2act_core.interfaces import Backbone


def build(config: Timm) -> Backbone:
    """Return the model with its weights."""
    from .model import load

    return load(config)


@hookimpl
def rgb2act_backbones() -> Iterator[Component]:
    """Yield ``timm``."""
    yield Component(
        name="timm",
        config=Timm,
        build=build,
        tiny=Timm(model="test_efficientnet", weights="random"),
        summary="any model of timm, such as DINOv2, SigLIP, CLIP, ConvNeXt or EfficientNet",
    )


@hookimpl
def rgb2act_students() -> Iterator[Component]:
    """Yield ``timm``."""
    yield Component(
        name="timm",
        config=TimmStudentConfig,
        build=TimmStudent,
        version=2,  # later layers are left out
        tiny=TimmStudentConfig(model="test_efficientnet", weights="random", keypoints=4, hidden=16),
        summary="any model of timm with keypoint pooling, pretrained or not",
    )


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``backbones``."""
    yield Command(
        name="backbones",
        summary="list models of timm that can be backbones",
        arguments=command.arguments,
        run=command.run,
    )
