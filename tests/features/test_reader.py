import numpy as np

from rgb2act_core.features.reader import EpisodeArrays, FrameIndex


def test_gather_returns_the_rows_of_many_episodes_in_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2, 3)).astype(np.float16) for n in (4, 1, 6)]
    table = EpisodeArrays(parts)
    rows = rng.integers(0, 11, 50)
    assert len(table) == 11
    assert np.array_equal(table.gather(rows), np.concatenate(parts)[rows])


def test_index_gives_episode_and_step_of_each_frame() -> None:
    index = FrameIndex.of([2, 3])
    assert index.episode.tolist() == [0, 0, 1, 1, 1]
    assert index.step.tolist() == [0, 1, 0, 1, 2]
    assert index.starts.tolist() == [0, 2, 5]
