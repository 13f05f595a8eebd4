import numpy as np
import pytest

from rgb2act_core.data.sampling import split
from rgb2act_core.features.reader import EpisodeArrays, FrameIndex


def test_gather_returns_the_rows_of_many_episodes_in_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2, 3)).astype(np.float16) for n in (4, 1, 6)]
    table = EpisodeArrays(parts)
    rows = rng.integers(0, 11, 50)
    assert len(table) == 11
    assert np.array_equal(table.gather(rows), np.concatenate(parts)[rows])


def test_index_tells_episode_and_step() -> None:
    index = FrameIndex.of([2, 3])
    assert index.episode.tolist() == [0, 0, 1, 1, 1]
    assert index.step.tolist() == [0, 1, 0, 1, 2]
    assert index.starts.tolist() == [0, 2, 5]


@pytest.mark.parametrize("episodes", [1, 2, 7, 100])
def test_split_keeps_every_episode_once_and_one_for_training(episodes: int) -> None:
    train, held = split(episodes, 0.9, 0)
    assert sorted([*train, *held]) == list(range(episodes))
    assert len(train) >= 1
    assert np.array_equal(split(episodes, 0.9, 0)[1], held)
