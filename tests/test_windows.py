import numpy as np

from rgb2act_core.encode import windows_of
from rgb2act_core.windows import plan_index, window_index


def test_a_window_ends_at_its_frame_and_repeats_the_first_one_before_the_start() -> None:
    assert window_index(np.array([0, 1, 5]), 3).tolist() == [[0, 0, 0], [0, 0, 1], [3, 4, 5]]


def test_a_plan_begins_with_the_action_of_its_own_frame() -> None:
    steps, inside = plan_index(np.array([0, 3]), 3, 5)
    assert steps.tolist() == [[0, 1, 2], [3, 4, 4]]
    assert inside.tolist() == [[True, True, True], [True, True, False]]


def test_windows_are_the_same_whatever_the_chunk_they_are_read_in() -> None:
    frames = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1, 1).repeat(3, 4)
    whole = windows_of(frames, 0, 7, 3)
    parts = np.concatenate([windows_of(frames, a, b, 3) for a, b in ((0, 2), (2, 3), (3, 7))])
    assert np.array_equal(whole, parts)
    assert whole[:, :, 0, 0, 0, 0].tolist() == window_index(np.arange(7), 3).tolist()
