from pathlib import Path

import pytest
import torch

from rgb2act_core.alignment.teacher_space import Map, Statistics, map_to, measure, stored


def parallel(count: int = 400) -> torch.Tensor:
    """Return embeddings that are nearly parallel, correlated, with a dimension that is constant."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(count, 5, generator=generator) * torch.tensor([1.0, 0.5, 0.2, 0.1, 0.0])
    small[:, 1] += small[:, 0]
    return small + 30


def mapped(space: str, floor: float = 0.0) -> torch.Tensor:
    found = map_to(space, measure(parallel(), covariance=space == "whitened"), floor)  # type: ignore[arg-type]
    return found(parallel())


def cosines(values: torch.Tensor) -> float:
    unit = torch.nn.functional.normalize(values, dim=1)
    return float((unit @ unit.T).abs().mean())


def test_raw_embeddings_are_left_as_they_are() -> None:
    assert torch.equal(mapped("raw"), parallel())
    assert cosines(mapped("raw")) > 0.99


def test_centring_takes_off_the_mean_and_keeps_distances() -> None:
    centred = mapped("centred")
    assert torch.allclose(centred.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(centred[0] - centred[1], parallel()[0] - parallel()[1], atol=1e-4)
    assert cosines(centred) < 0.8


def test_whitening_leaves_no_correlation() -> None:
    white = mapped("whitened", floor=1e-3)[:, :4]
    covariance = white.T @ white / (len(white) - 1)
    assert torch.allclose(covariance, torch.eye(4), atol=1e-2)
    standard = mapped("standardised")[:, :4]
    assert (standard.T @ standard / (len(standard) - 1))[0, 1] > 0.5  # the control


def test_the_floor_keeps_what_hardly_varies_small() -> None:
    for space in ("standardised", "whitened"):
        assert mapped(space, floor=0.5).std(0).min() < 0.4
        assert mapped(space, floor=0.5).isfinite().all()


def test_statistics_are_measured_once_and_read_after(tmp_path: Path) -> None:
    place, calls = tmp_path / "statistics.safetensors", []

    def measured() -> Statistics:
        calls.append(1)
        return measure(parallel(), covariance=True)

    first, second = stored(place, measured), stored(place, measured)
    assert len(calls) == 1
    assert torch.equal(first.mean, second.mean)
    assert first.covariance is not None
    assert second.covariance is not None
    assert torch.equal(first.covariance, second.covariance)


def test_identical_embeddings_make_a_finite_map() -> None:
    same = torch.ones(10, 5)
    for space in ("raw", "centred", "standardised", "whitened"):
        found: Map = map_to(space, measure(same, covariance=True), 0.1)  # type: ignore[arg-type]
        assert found(same).isfinite().all()


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_make_a_finite_map(count: int) -> None:
    few = parallel(count)
    assert map_to("whitened", measure(few, covariance=True), 0.1)(few).isfinite().all()
