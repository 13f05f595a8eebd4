"""Frames of several tasks: what is held out of each, and how often each is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgb2act_core.data.dataset import Dataset, EpisodeRef
from rgb2act_core.data.sampling import WeightedSampler, halve, split, tasks_of, weight_of


def data() -> Dataset:
    sources = [
        EpisodeRef(name=str(i), digest=str(i), task=task) for i, task in enumerate([0, 0, 1])
    ]
    return Dataset(demonstrations=tuple(sources), tasks=("lift", "reach"))


@pytest.mark.parametrize("holdout", [0.0, 0.2, 0.9])
def test_one_task_is_split_as_ever(holdout: float) -> None:
    train, held = split(10, holdout, 3)
    halves = halve(np.zeros(10, np.int64), holdout, 3)
    assert halves.train.tolist() == train.tolist()
    assert halves.held.tolist() == held.tolist()
    assert halves.measured.tolist() == (held if len(held) else train).tolist()


def test_each_task_is_held_out_by_itself() -> None:
    task_E = np.array([0] * 10 + [1] * 4 + [2])
    halves = halve(task_E, 0.25, 0)
    assert [(task_E[halves.train] == t).sum() for t in range(3)] == [8, 3, 1]
    assert [(task_E[halves.held] == t).sum() for t in range(3)] == [2, 1, 0]
    assert set(halves.measured) == {*halves.held, 14}  # of the last, what trains
    assert sorted([*halves.train, *halves.held]) == list(range(15))


def test_weights_are_of_the_tasks() -> None:
    assert tasks_of(data().sources).tolist() == [0, 0, 1]
    assert weight_of({"reach": 3.0}, data()).tolist() == [1, 1, 3]
    assert weight_of({"reach": 3.0}, Dataset(demonstrations=data().sources[:2])).tolist() == [1, 1]


def test_frames_that_count_alike_are_drawn_as_ever() -> None:
    draw = WeightedSampler(9, np.full(9, 2.0))
    torch.manual_seed(0)
    few, some = draw.few(4), draw.any(5)
    torch.manual_seed(0)
    assert few.tolist() == torch.randperm(9)[:4].tolist()
    assert some.tolist() == torch.randint(9, (5,)).tolist()


@pytest.mark.parametrize("way", ["few", "any"])
def test_frame_of_twice_the_weight_comes_twice_as_often(way: str) -> None:
    torch.manual_seed(0)
    draw = WeightedSampler(30, np.array([1.0] * 20 + [2.0] * 10))
    counts = np.zeros(30)
    for _ in range(3000):
        places = getattr(draw, way)(2)
        assert way == "any" or len(set(places)) == 2
        np.add.at(counts, places, 1)
    light, heavy = counts[:20].mean(), counts[20:].mean()
    assert heavy / light == pytest.approx(2, rel=0.07)  # 6000 draws: a deviation is 0.03
    assert counts[:20].std() / light < 0.15


def test_all_frames_can_be_drawn_at_once_whatever_their_weight() -> None:
    torch.manual_seed(0)
    assert sorted(WeightedSampler(5, np.array([1.0, 1e-6, 1e6, 2, 3])).few(5)) == list(range(5))
