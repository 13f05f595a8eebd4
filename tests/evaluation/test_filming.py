"""Episodes are filmed by executing their recorded actions again."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from rgb2act_core.data.video import read_mp4
from rgb2act_core.errors import UserError
from rgb2act_core.evaluation.filming import episodes_to_film, film_all, refuse_problems
from rgb2act_core.evaluation.rollout_files import read_rollout, rollout_path
from rgb2act_core.evaluation.simulator_pool import SimulatorPool
from rgb2act_core.store.files import read_json


def acted(root: Path) -> Path:
    (path,) = root.glob("store/act/*/stage.json")
    return path.parent


def test_failures_are_filmed_before_successes() -> None:
    episodes = [{"seed": seed, "success": seed not in (2, 4)} for seed in range(6)]
    assert episodes_to_film(episodes, 4) == [2, 4, 0, 1]


@pytest.mark.usefixtures("puppet")
def test_an_episode_that_ends_differently_is_refused(puppet_root: Path) -> None:
    """An episode that ends as recorded is filmed; one that does not leaves no video."""
    from rgb2act_core.pipeline.find_run import find_run
    from rgb2act_core.pipeline.run_record import read_run

    folder = acted(puppet_root)
    episodes = read_json(folder / "stage.json")["results"]["episodes"]
    rollouts = [read_rollout(rollout_path(folder, episode["seed"])) for episode in episodes[:2]]
    wrong = attrs.evolve(rollouts[1], success=not rollouts[1].success)
    config = read_run(find_run("puppet", puppet_root)).run.spec.environments[0].config
    with SimulatorPool("puppet", config, 2, {0}, 1) as simulators:
        films = film_all(simulators, folder, [rollouts[0], wrong], 2)
    assert films[0].path is not None
    assert len(read_mp4(films[0].path)) == rollouts[0].steps + 1
    assert films[1].path is None
    with pytest.raises(UserError, match=r"seed 1: its recorded actions gave another episode"):
        refuse_problems(films)
    assert not list(folder.glob("videos/*0001.mp4"))


def test_a_rollout_file_is_read_as_it_was_written(puppet_done: Path, tmp_path: Path) -> None:
    before = read_rollout(rollout_path(acted(puppet_done), 0))
    before.save(tmp_path)
    after = read_rollout(rollout_path(tmp_path, 0))
    for field in attrs.fields(type(before)):
        np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))
    rollout_path(tmp_path, 0).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"seed_0000000\.npz: not a readable rollout"):
        read_rollout(rollout_path(tmp_path, 0))
