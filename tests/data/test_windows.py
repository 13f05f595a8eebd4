import numpy as np

from rgb2act_core.data.windows import plan_index, window_index


def test_a_window_ends_at_its_frame_and_repeats_the_first_one_before_the_start() -> None:
    assert window_index(np.array([0, 1, 5]), 3).tolist() == [[0, 0, 0], [0, 0, 1], [3, 4, 5]]


def test_a_plan_starts_with_the_action_of_its_frame() -> None:
    steps, inside = plan_index(np.array([0, 3]), 3, 5)
    assert steps.tolist() == [[0, 1, 2], [3, 4, 4]]
    assert inside.tolist() == [[True, True, True], [True, True, False]]
