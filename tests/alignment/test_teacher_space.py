from pathlib import Path

import attrs
import pytest
import torch
from divided_alignment import cases

from rgb2act_core.alignment.teacher_space import (
    TeacherStatistics,
    load_or_compute,
    transform_into,
)


def parallel(count: int = 400) -> torch.Tensor:
    """Return nearly parallel, correlated embeddings with a constant dimension."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(count, 5, generator=generator) * torch.tensor([1.0, 0.5, 0.2, 0.1, 0.0])
    small[:, 1] += small[:, 0]
    return small + 30


def mapped(space: str, floor: float = 0.0) -> torch.Tensor:
    found = transform_into(
        space, TeacherStatistics.of(parallel(), covariance=space == "whitened"), floor
    )  # type: ignore[arg-type]
    return found(parallel())


def cosines(values: torch.Tensor) -> float:
    unit = torch.nn.functional.normalize(values, dim=1)
    return float((unit @ unit.T).abs().mean())


def test_the_raw_space_is_the_identity() -> None:
    assert torch.equal(mapped("raw"), parallel())
    assert cosines(mapped("raw")) > 0.99


def test_centring_removes_the_mean_and_keeps_distances() -> None:
    centred = mapped("centred")
    # values near 30 round by 2e-6 in float32, their mean over 400 by less
    assert torch.allclose(centred.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(centred[0] - centred[1], parallel()[0] - parallel()[1], atol=1e-4)
    assert cosines(centred) < 0.8


def test_whitening_removes_correlations() -> None:
    white = mapped("whitened", floor=1e-3)[:, :4]
    covariance = white.T @ white / (len(white) - 1)
    # values near 30 round by 2e-6 and the smallest deviation is 0.1; the floor adds less than 1e-3
    assert torch.allclose(covariance, torch.eye(4), atol=1e-2)
    standard = mapped("standardised")[:, :4]
    assert (standard.T @ standard / (len(standard) - 1))[0, 1] > 0.5  # the control


def test_the_floor_limits_dimensions_that_hardly_vary() -> None:
    for space in ("standardised", "whitened"):
        assert mapped(space, floor=0.5).std(0).min() < 0.4
        assert mapped(space, floor=0.5).isfinite().all()


def test_by_default_no_dimension_is_amplified_beyond_the_others() -> None:
    (align, *_) = cases().values()
    floor = align.floor
    found, given = mapped("standardised", floor).std(0), parallel().std(0)
    assert torch.allclose(found[:2], torch.ones(2), atol=1e-3)  # they vary more than the others
    assert torch.allclose(found[2:], given[2:] / given.square().mean().sqrt(), atol=1e-3)
    white = mapped("whitened", attrs.evolve(align, teacher_space="whitened").floor)
    assert white[:, :4].std(0).min() > 0.99


def test_statistics_are_computed_once_and_then_loaded(tmp_path: Path) -> None:
    path, calls = tmp_path / "statistics.safetensors", []

    def compute() -> TeacherStatistics:
        calls.append(1)
        return TeacherStatistics.of(parallel(), covariance=True)

    first, second = load_or_compute(path, compute), load_or_compute(path, compute)
    assert len(calls) == 1
    assert torch.equal(first.mean, second.mean)
    assert first.covariance is not None
    assert second.covariance is not None
    assert torch.equal(first.covariance, second.covariance)


def test_identical_embeddings_give_a_finite_transform() -> None:
    same = torch.ones(10, 5)
    for space in ("raw", "centred", "standardised", "whitened"):
        found = transform_into(space, TeacherStatistics.of(same, covariance=True), 0.1)  # type: ignore[arg-type]
        assert found(same).isfinite().all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_give_a_finite_transform(count: int) -> None:
    few = parallel(count)
    statistics = TeacherStatistics.of(few, covariance=True)
    assert transform_into("whitened", statistics, 0.1)(few).isfinite().all()
