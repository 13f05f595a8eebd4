import numpy as np
import pytest

from rgb2act_core.policy.action_chunks import ActionChunker
from rgb2act_core.spec import Act

HALF = np.ones(1, np.float32)


def plan(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_without_options_the_newest_plan_is_executed_from_its_first_step() -> None:
    plans = ActionChunker(Act(), HALF)
    plans.add(0, plan(0, 1, 2, 3)[None])
    assert plans.actions(0, 2).ravel().tolist() == [0, 1]
    plans.add(2, plan(7, 8, 9, 10)[None])
    assert plans.actions(2, 2).ravel().tolist() == [7, 8]


def test_the_candidate_closest_to_the_previous_plan_is_selected() -> None:
    plans = ActionChunker(Act(candidates=3), HALF)
    plans.add(0, np.stack([plan(0, 1, 2, 3), plan(9, 9, 9, 9), plan(5, 5, 5, 5)]))
    assert plans.actions(0, 2).ravel().tolist() == [0, 1]  # the first plan is the first candidate
    plans.add(2, np.stack([plan(9, 9, 9, 9), plan(2, 3.5, 8, 8), plan(0, 0, 0, 0)]))
    assert plans.actions(2, 2).ravel().tolist() == [2, 3.5]
    assert plans.seams == [pytest.approx(np.sqrt(0.25 / 2))]


def test_a_seam_is_measured_in_half_ranges() -> None:
    plans = ActionChunker(Act(), np.array([0.5], np.float32))
    plans.add(0, plan(0, 0, 1)[None])
    plans.add(2, plan(0, 0, 0)[None])
    assert plans.seams == [2.0]


def test_plans_that_do_not_overlap_have_no_seam() -> None:
    plans = ActionChunker(Act(candidates=2), HALF)
    plans.add(0, np.stack([plan(0, 1), plan(4, 4)]))
    plans.add(2, np.stack([plan(5, 6), plan(1, 1)]))
    assert plans.actions(2, 2).ravel().tolist() == [5, 6]
    assert plans.seams == []


def test_the_next_plan_may_start_from_the_rest_of_the_previous_one() -> None:
    plans = ActionChunker(Act(warm_start=0.5), HALF)
    assert plans.warm_start(0) is None
    plans.add(0, plan(0, 1, 2, 3)[None])
    start = plans.warm_start(2)
    assert start is not None
    assert start.ravel().tolist() == [2, 3, 3, 3]
    assert plans.warm_start(4) is None


def test_ensembling_averages_all_plans_of_a_step_with_larger_weights_for_older_ones() -> None:
    decay = 0.5
    plans = ActionChunker(Act(temporal_ensemble=True, ensemble_decay=decay), HALF)
    plans.add(0, plan(0, 10, 20)[None])
    assert plans.actions(0, 1).ravel().tolist() == [0]
    plans.add(1, plan(16, 26, 36)[None])
    weight = np.exp(-decay)
    assert plans.actions(1, 1)[0, 0] == pytest.approx((10 + 16 * weight) / (1 + weight))
    plans.add(2, plan(1, 2, 3)[None])
    expected = np.average([20, 26, 1], weights=[1, weight, weight**2])
    assert plans.actions(2, 1)[0, 0] == pytest.approx(expected)
    plans.add(3, plan(0, 0, 0)[None])
    assert len(plans.plans) == 3  # plans without remaining steps are dropped
