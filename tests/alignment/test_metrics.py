import pytest
import torch

from rgb2act_core.alignment.metrics import (
    cosine,
    r2,
    retrieval,
    retrieval_in_pool,
    retrieval_within,
    ridge_error,
    uniformity,
)


def test_a_perfect_student_scores_one() -> None:
    teacher = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    assert retrieval(teacher, teacher, 1) == 1.0
    assert cosine(teacher, teacher) == pytest.approx(1.0)
    assert r2(teacher, teacher) == pytest.approx(1.0)


def test_retrieval_counts_nearer_embeddings() -> None:
    teacher = torch.eye(3)
    student = torch.tensor([[0.1, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.9, 0.8]])
    assert retrieval(student, teacher, 1) == pytest.approx(1 / 3)
    assert retrieval(student, teacher, 2) == pytest.approx(2 / 3)


def test_a_student_that_cannot_distinguish_frames_scores_at_chance() -> None:
    teacher = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    nothing, episode = torch.zeros(20, 5), torch.arange(20) // 10
    assert retrieval(nothing, teacher, 1) == pytest.approx(1 / 20)
    assert retrieval_within(nothing, teacher, episode, 5) == pytest.approx(5 / 10)
    assert retrieval_in_pool(nothing, teacher, 1, size=10) == pytest.approx(1 / 10)
    twins = torch.eye(3)[[0, 0, 1, 2]]
    assert retrieval(twins, twins, 1) == pytest.approx(3 / 4)
    assert retrieval(twins, twins, 2) == 1.0


def test_predicting_the_mean_explains_nothing() -> None:
    teacher = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    assert r2(teacher.mean(0).expand(50, 3), teacher) == pytest.approx(
        0.0, abs=1e-5
    )  # float32 means of 50


def test_the_probe_finds_a_linear_state_and_reports_its_units() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(300, 4, generator=generator)
    state = features @ torch.randn(4, 2, generator=generator) + 3
    assert ridge_error(features[:200], state[:200], features[200:], state[200:]) < 0.01
    noise = torch.randn(300, 4, generator=generator)
    spread = float((state[200:] - state[:200].mean(0)).square().sum(1).mean().sqrt())
    error = ridge_error(noise[:200], state[:200], noise[200:], state[200:])
    assert error == pytest.approx(spread, rel=0.1)  # 200 rows fit 4 noise columns


def test_retrieval_within_an_episode_uses_only_its_frames() -> None:
    teacher = torch.eye(4)
    student = torch.eye(4)[[2, 1, 0, 3]]  # frames 0 and 2 are confused with each other,
    student = student + 0.1 * teacher  # and are closer to themselves than to the rest
    apart, one = torch.tensor([0, 0, 1, 1]), torch.zeros(4)
    assert retrieval_within(student, teacher, apart, 1) == 1.0
    assert retrieval_within(student, teacher, one, 1) == 0.5


def test_uniformity_is_zero_for_a_point_and_lower_for_a_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    assert uniformity(torch.ones(10, 3)) == 0.0
    assert uniformity(torch.randn(200, 3, generator=generator)) < -1.5
    assert uniformity(torch.ones(1, 3)) == 0.0


def test_a_pools_chance_level_is_k_over_its_size_and_pools_are_fixed() -> None:
    generator = torch.Generator().manual_seed(3)
    teacher = torch.randn(500, 8, generator=generator)
    blind = torch.randn(500, 8, generator=generator)
    assert retrieval_in_pool(teacher, teacher, 1) == 1.0
    assert retrieval_in_pool(blind, teacher, 1) == pytest.approx(
        0.01, abs=0.005
    )  # 500 draws: deviation 0.0045
    assert retrieval_in_pool(blind, teacher, 5) == pytest.approx(0.05, abs=0.015)  # deviation 0.01
    assert retrieval_in_pool(blind, teacher, 5) == retrieval_in_pool(blind, teacher, 5)
    noisy = teacher + 0.7 * blind
    small, all_frames = (retrieval_in_pool(noisy, teacher, 1, size) for size in (20, 500))
    assert all_frames == pytest.approx(retrieval(noisy, teacher, 1))  # a pool of all frames
    assert small > all_frames + 0.1
