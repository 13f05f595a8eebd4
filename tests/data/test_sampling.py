"""Episodes of several tasks: what is held out of each, and their weights."""

from __future__ import annotations

import numpy as np
import pytest

from rgb2act_core.data.dataset import Dataset, EpisodeRef
from rgb2act_core.data.sampling import halve, split, tasks_of, weight_of


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
