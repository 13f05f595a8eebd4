"""What a point-cloud teacher must do.

Shapes: B = clouds, P = points, D = embedding width
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..interfaces import PointCloud, Teacher, TeacherInfo
from ..plugins.components import Capability
from .capabilities import capabilities_are_as_declared
from .subject import Subject, refuses

CLOSE = 1e-3  # of the largest number; sums in another order differ by less


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


def info_says_width(subject: Subject) -> None:
    """``info`` is a TeacherInfo with a positive width."""
    info = subject.built.info
    assert isinstance(info, TeacherInfo), f"info is {info!r}; make it a TeacherInfo"
    assert info.dim >= 1, f"info.dim is {info.dim}"


def embeddings_are_finite_float32_of_that_width(subject: Subject) -> None:
    """Clouds of different sizes give (B, D) float32 without NaN or inf."""
    found = _embed(subject.built)
    expected = (3, subject.built.info.dim)
    assert tuple(found.shape) == expected, f"shape is {tuple(found.shape)}, not (B, D) = {expected}"
    assert found.dtype is torch.float32, f"embeddings are {found.dtype}; return float32"
    assert bool(found.isfinite().all()), "embeddings hold NaN or inf"


def embeddings_depend_on_the_cloud(subject: Subject) -> None:
    """Different clouds give different embeddings."""
    found = _embed(subject.built)
    assert not torch.equal(found[0], found[1]), "two different clouds have the same embedding"


def batch_does_not_matter(subject: Subject) -> None:
    """A cloud's embedding does not depend on the others in its batch."""
    together = _embed(subject.built)
    alone = torch.cat([subject.built.embed([cloud]) for cloud in _clouds()])
    error = float((together - alone).abs().max() / together.abs().max().clamp(min=1e-9))
    assert error < CLOSE, (
        f"embeddings differ by {error:.2g} between a batch and single clouds; use eval(), mask"
        " what pads short clouds"
    )


def same_config_gives_same_embeddings(subject: Subject) -> None:
    """Embedding twice, and building twice, gives the same bits."""
    first = _embed(subject.built)
    assert torch.equal(first, _embed(subject.built)), "embedding twice differs; seed all drawing"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = subject.build()
    assert torch.equal(first, _embed(again)), (
        "two builds of one config differ; draw random weights from a seed of the config"
    )


def empty_cloud_is_refused(subject: Subject) -> None:
    """A cloud without points raises UserError."""
    refuses(lambda: subject.built.embed([_cloud(1, 0)]), "a cloud without points")


def clouds_are_left_alone(subject: Subject) -> None:
    """``embed`` does not write into its input."""
    cloud, same = _cloud(1, 2048), _cloud(1, 2048)
    subject.built.embed([cloud])
    untouched = np.array_equal(cloud.xyz, same.xyz) and np.array_equal(cloud.rgb, same.rgb)
    assert untouched, "embed changes the clouds it is given; work on a copy"


def embeddings_are_frozen(subject: Subject) -> None:
    """No gradient is recorded."""
    with torch.enable_grad():
        found = _embed(subject.built)
    assert not found.requires_grad, "embeddings require a gradient; decorate embed with no_grad"


def moves_to_a_device(subject: Subject) -> None:
    """``to`` returns the teacher."""
    moved = subject.built.to(torch.device("cpu"))
    assert hasattr(moved, "embed"), f"to(device) returns {moved!r}; return the teacher"


def group_tokens_have_the_shape_of_info(subject: Subject) -> None:
    """``embed_groups``, if offered, gives embeddings as ``embed`` and tokens (B, G, C)."""
    built = subject.built
    if not subject.can(Capability.GROUP_TOKENS):
        return
    embedding, groups = built.embed_groups(_clouds())
    assert torch.equal(embedding, _embed(built)), "embed_groups and embed differ"
    expected = (3, *(built.info.groups or ()))
    assert tuple(groups.shape) == expected, f"groups are {tuple(groups.shape)}, info: {expected}"
    assert groups.dtype is torch.float32, f"groups are {groups.dtype}; return float32"
    largest = float(groups.abs().max())
    assert largest < 6e4, f"a group token of {largest:.3g} does not fit float16; scale them"
    assert not groups.requires_grad, "groups require a gradient; decorate with no_grad"


CHECKS = (
    capabilities_are_as_declared,
    info_says_width,
    embeddings_are_finite_float32_of_that_width,
    embeddings_depend_on_the_cloud,
    batch_does_not_matter,
    same_config_gives_same_embeddings,
    empty_cloud_is_refused,
    clouds_are_left_alone,
    embeddings_are_frozen,
    moves_to_a_device,
    group_tokens_have_the_shape_of_info,
)
