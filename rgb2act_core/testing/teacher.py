"""Checks for point-cloud teachers.

Shapes: B = clouds, P = points, D = size of an embedding
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..interfaces import PointCloud, Teacher, TeacherInfo
from ..plugins.components import Capability
from .capabilities import capabilities_are_as_declared
from .subject import Subject, refuses

CLOSE = 1e-3  # relative to the largest value; float32 summation order differs by less


def _cloud(seed: int, points: int) -> PointCloud:
    draw = np.random.default_rng(seed)
    return PointCloud(
        xyz=draw.uniform(-0.5, 0.5, (points, 3)).astype(np.float32),
        rgb=draw.integers(0, 256, (points, 3), dtype=np.uint8),
    )


def _clouds() -> list[PointCloud]:
    return [_cloud(1, 4096), _cloud(2, 2048), _cloud(3, 3000)]


def _embed(teacher: Teacher) -> Tensor:
    return teacher.embed(_clouds())


def info_is_valid(subject: Subject) -> None:
    """``info`` is a TeacherInfo with a positive ``dim``."""
    info = subject.built.info
    assert isinstance(info, TeacherInfo), f"info is {info!r}; make it a TeacherInfo"
    assert info.dim >= 1, f"info.dim is {info.dim}"


def embeddings_are_finite_float32(subject: Subject) -> None:
    """Clouds of different sizes give float32 (B, D) without NaN or inf."""
    found = _embed(subject.built)
    expected = (3, subject.built.info.dim)
    assert tuple(found.shape) == expected, f"shape is {tuple(found.shape)}, not (B, D) = {expected}"
    assert found.dtype is torch.float32, f"embeddings are {found.dtype}; return float32"
    assert bool(found.isfinite().all()), "embeddings contain NaN or inf"


def embeddings_depend_on_the_cloud(subject: Subject) -> None:
    """Different clouds give different embeddings."""
    found = _embed(subject.built)
    assert not torch.equal(found[0], found[1]), "two different clouds have the same embedding"


def batch_does_not_change_embeddings(subject: Subject) -> None:
    """The embedding of a cloud does not depend on the other clouds in the batch."""
    together = _embed(subject.built)
    single = torch.cat([subject.built.embed([cloud]) for cloud in _clouds()])
    error = float((together - single).abs().max() / together.abs().max().clamp(min=1e-9))
    assert error < CLOSE, (
        f"embeddings differ by {error:.2g} between a batch and single clouds; call eval(), and"
        " mask the padding of small clouds"
    )


def same_config_gives_same_embeddings(subject: Subject) -> None:
    """Embedding twice and building twice give identical embeddings."""
    first = _embed(subject.built)
    assert torch.equal(first, _embed(subject.built)), (
        "embedding twice gives different results; seed all random numbers"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = subject.build()
    assert torch.equal(first, _embed(again)), (
        "two builds of one config differ; draw random weights from a seed in the config"
    )


def empty_cloud_is_rejected(subject: Subject) -> None:
    """A cloud without points raises UserError."""
    refuses(lambda: subject.built.embed([_cloud(1, 0)]), "a cloud without points")


def input_is_not_modified(subject: Subject) -> None:
    """``embed`` does not modify its input."""
    cloud, same = _cloud(1, 2048), _cloud(1, 2048)
    subject.built.embed([cloud])
    untouched = np.array_equal(cloud.xyz, same.xyz) and np.array_equal(cloud.rgb, same.rgb)
    assert untouched, "embed modifies its input; work on a copy"


def embeddings_are_frozen(subject: Subject) -> None:
    """Embeddings have no gradient."""
    with torch.enable_grad():
        found = _embed(subject.built)
    assert not found.requires_grad, "embeddings require a gradient; decorate embed with no_grad"


def moves_to_a_device(subject: Subject) -> None:
    """``to`` returns the teacher."""
    moved = subject.built.to(torch.device("cpu"))
    assert hasattr(moved, "embed"), f"to(device) returns {moved!r}; return the teacher"


def group_tokens_have_the_shape_of_info(subject: Subject) -> None:
    """``embed_groups``, if there is one, returns the embeddings and tokens (B, G, C)."""
    built = subject.built
    if not subject.can(Capability.GROUP_TOKENS):
        return
    embedding, groups = built.embed_groups(_clouds())
    assert torch.equal(embedding, _embed(built)), "embed_groups and embed differ"
    expected = (3, *(built.info.groups or ()))
    assert tuple(groups.shape) == expected, f"groups are {tuple(groups.shape)}, info: {expected}"
    assert groups.dtype is torch.float32, f"groups are {groups.dtype}; return float32"
    largest = float(groups.abs().max())
    assert largest < 6e4, f"a value of {largest:.3g} overflows float16; scale the group tokens"
    assert not groups.requires_grad, "groups require a gradient; decorate with no_grad"


CHECKS = (
    capabilities_are_as_declared,
    info_is_valid,
    embeddings_are_finite_float32,
    embeddings_depend_on_the_cloud,
    batch_does_not_change_embeddings,
    same_config_gives_same_embeddings,
    empty_cloud_is_rejected,
    input_is_not_modified,
    embeddings_are_frozen,
    moves_to_a_device,
    group_tokens_have_the_shape_of_info,
)
