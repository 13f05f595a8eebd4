"""Frames of several tasks: the held-out split of each, and their weights."""

from __future__ import annotations

import numpy as np
import pytest

from rgb2act_core.data.dataset import Dataset, EpisodeRef
from rgb2act_core.data.splits import (
    episode_weights,
    evenly_spaced,
    split_episodes,
    task_indices,
)


def data() -> Dataset:
    sources = [
        EpisodeRef(name=str(i), digest=str(i), task=task) for i, task in enumerate([0, 0, 1])
    ]
    return Dataset(demonstrations=tuple(sources), tasks=("lift", "reach"))


@pytest.mark.parametrize("episodes", [1, 2, 7, 100])
@pytest.mark.parametrize("holdout", [0.0, 0.2, 0.9])
def test_a_split_holds_out_a_share_and_keeps_one_episode_for_training(
    episodes: int, holdout: float
) -> None:
    parts = split_episodes(np.zeros(episodes, np.int64), holdout, 3)
    assert sorted([*parts.train, *parts.held_out]) == list(range(episodes))
    assert len(parts.held_out) == min(round(holdout * episodes), episodes - 1)
    expected = parts.held_out if len(parts.held_out) else parts.train
    assert parts.evaluated.tolist() == expected.tolist()
    again = split_episodes(np.zeros(episodes, np.int64), holdout, 3)
    assert again.held_out.tolist() == parts.held_out.tolist()


def test_evenly_spaced_indices_include_first_and_last() -> None:
    assert evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 5).tolist() == []


def test_each_task_has_its_own_held_out_episodes() -> None:
    task_E = np.array([0] * 10 + [1] * 4 + [2])
    parts = split_episodes(task_E, 0.25, 0)
    assert [(task_E[parts.train] == t).sum() for t in range(3)] == [8, 3, 1]
    assert [(task_E[parts.held_out] == t).sum() for t in range(3)] == [2, 1, 0]
    assert set(parts.evaluated) == {*parts.held_out, 14}  # the training episode of the last task
    assert sorted([*parts.train, *parts.held_out]) == list(range(15))


def test_episodes_have_the_weight_of_their_task() -> None:
    assert task_indices(data().episodes).tolist() == [0, 0, 1]
    assert episode_weights({"reach": 3.0}, data()).tolist() == [1, 1, 3]
    assert episode_weights(
        {"reach": 3.0}, Dataset(demonstrations=data().episodes[:2])
    ).tolist() == [1, 1]
