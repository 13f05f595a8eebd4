"""Faults planted into recordings of the expert are found, and nothing in the recordings."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from planted_faults import FAULTS
from rgb2act_tabletop import Tabletop
from rgb2act_tabletop.config import Task
from rgb2act_tabletop.recording import TabletopEnvironment

from rgb2act_core.interfaces import Episode
from rgb2act_core.linting import Sample, check_episodes

SAMPLE = Sample(positions=4)


def recorded(environment: TabletopEnvironment, count: int, noise: float = 0.0) -> list[Episode]:
    episodes: list[Episode] = []
    seed = 0
    while len(episodes) < count:
        episode = environment.demonstrate(seed, noise)
        episodes += [] if episode is None else [episode]
        seed += 1
    return episodes


@pytest.fixture(scope="module")
def environment() -> TabletopEnvironment:
    return TabletopEnvironment(Tabletop(task="lift", size=24))


@pytest.fixture(scope="module")
def episodes(environment: TabletopEnvironment) -> list[Episode]:
    return recorded(environment, 6)


def test_recordings_have_no_findings(
    environment: TabletopEnvironment, episodes: list[Episode]
) -> None:
    assert list(map(str, check_episodes(episodes, environment.info, SAMPLE))) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(
    environment: TabletopEnvironment, episodes: list[Episode], name: str
) -> None:
    plant, rule = FAULTS[name]
    faulty = plant(episodes, np.random.default_rng(0))
    found = check_episodes(faulty, environment.info, SAMPLE)
    assert rule in {finding.rule for finding in found}, list(map(str, found))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("task", get_args(Task))
def test_recordings_of_all_tasks_have_no_findings(task: Task, noise: float) -> None:
    environment = TabletopEnvironment(Tabletop(task=task, size=24))
    found = check_episodes(recorded(environment, 10, noise), environment.info, SAMPLE)
    assert list(map(str, found)) == []
