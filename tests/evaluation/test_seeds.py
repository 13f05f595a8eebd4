"""Evaluation seeds: consecutive, from a file, or screened by the environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core.data.dataset import Dataset
from rgb2act_core.errors import UserError
from rgb2act_core.evaluation.seeds import Seeds, select_seeds, verdicts_folder
from rgb2act_core.evaluation.task import EvaluationTask
from rgb2act_core.pipeline import preflight
from rgb2act_core.pipeline.status import check
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.act import evaluation_tasks
from rgb2act_core.stages.keys import act_inputs
from rgb2act_core.stages.run import Run
from rgb2act_core.stages.tasks import open_tasks
from rgb2act_core.store.stage_folder import StageFolder

pytestmark = pytest.mark.slow

SpecFile = Callable[..., Path]


def bound(spec_file: SpecFile, root: Path, **changes: Any) -> Run:
    run = Run(spec=read_spec(spec_file(**changes)), root=root)
    return open_tasks(run).run


def evaluation_of(run: Run) -> EvaluationTask:
    (task,) = evaluation_tasks(run, open_tasks(run).names)
    return task


def selected(run: Run) -> Seeds:
    return select_seeds(evaluation_of(run))


@pytest.mark.usefixtures("puppet")
def test_seeds_are_consecutive_without_screening(spec_file: SpecFile, tmp_path: Path) -> None:
    run = bound(spec_file, tmp_path, act={"episodes": 3, "first_seed": 7})
    chosen = selected(run)
    assert (chosen.accepted, chosen.source, dict(chosen.scenes)) == ((7, 8, 9), "", {})
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("puppet")
def test_screening_selects_the_first_accepted_seeds(
    spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosy = {"use": "choosy"}
    monkeypatch.setenv("RGB2ACT_PUPPET", f"screen:lose:1:{tmp_path / 'lost'}")
    run = bound(spec_file, tmp_path, environment=choosy, seed=1, act={"episodes": 3})
    assert (run.spec.act.start, run.spec.collect.start) == (2000, 0)
    chosen = selected(run)
    assert chosen.accepted == (2000, 2002, 2004)
    assert chosen.rejected == {2001: "odd", 2003: "odd"}
    assert chosen.scenes[2002] == {"half": 1001}
    assert (tmp_path / "lost").exists()

    # only unknown seeds are screened again
    monkeypatch.setenv("RGB2ACT_PUPPET", f"screen:raise:0:{tmp_path / 'asked'}")
    path = verdicts_folder(evaluation_of(run)) / "verdicts.json"
    before = path.read_bytes()
    assert selected(run).plain() == chosen.plain()
    assert path.read_bytes() == before
    other = json.loads(before)
    for row in other["verdicts"].values():
        row["scene"] = row.pop("info")
    monkeypatch.delenv("RGB2ACT_PUPPET")
    path.write_text(json.dumps(other))  # verdicts in another format are screened again
    assert selected(run).plain() == chosen.plain()
    assert path.read_bytes() == before
    monkeypatch.setenv("RGB2ACT_PUPPET", f"screen:raise:0:{tmp_path / 'asked'}")
    tries = attrs.evolve(run.spec.act, episodes=4)
    more = attrs.evolve(run, spec=attrs.evolve(run.spec, act=tries))
    with pytest.raises(RuntimeError, match="strings are cut"):
        selected(more)
    assert selected(more).accepted == (2000, 2002, 2004, 2006)


@pytest.mark.usefixtures("puppet")
def test_screening_without_accepted_seeds_is_an_error(spec_file: SpecFile, tmp_path: Path) -> None:
    never = {"use": "choosy", "fault": "choosy"}
    run = bound(spec_file, tmp_path, environment=never, act={"episodes": 1})
    message = "only 0 of 30 seeds were accepted; 30 were rejected as 'odd'"
    with pytest.raises(UserError, match=message):
        selected(run)

    # rejections are not stored, so seeds are screened again after the cause is fixed
    path = verdicts_folder(evaluation_of(run)) / "verdicts.json"
    assert json.loads(path.read_text()) == {"verdicts": {}}
    with pytest.raises(UserError, match=message):  # screened again; the cause is not fixed
        selected(run)


@pytest.mark.usefixtures("puppet")
def test_seeds_of_a_file(spec_file: SpecFile, tmp_path: Path) -> None:
    path = tmp_path / "seeds.json"
    screened = {"accepted": [{"seed": 9, "info": {"a": 1}}, {"seed": 4}], "rejected": []}
    for content, expected in (([9, 4, 5], {}), (screened, {9: {"a": 1}})):
        path.write_text(json.dumps(content))
        run = bound(spec_file, tmp_path, act={"episodes": 2, "seeds": str(path)})
        chosen = selected(run)
        assert (chosen.accepted, chosen.scenes, chosen.source) == ((9, 4), expected, "file")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "not a list of seeds; give a list of numbers"),
        ("[1, -2]", "not a list of seeds"),
        ('{"accepted": [{"seed": 1, "scene": {}}]}', "not a list of seeds"),
        ('["1"]', "not a list of seeds"),
        ('{"rejected": []}', "not a list of seeds"),
        ("[1]", "1 seeds, 1 of them different, but .act. episodes = 2"),
        ("[1, 1, 2]", "3 seeds, 2 of them different"),
    ],
)
def test_file_without_seeds_is_an_error(
    spec_file: SpecFile, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(content)
    run = bound(spec_file, tmp_path, act={"episodes": 2, "seeds": str(path)})
    with pytest.raises(UserError, match=f"seeds.json: {message}"):
        selected(run)


@pytest.mark.usefixtures("puppet")
def test_content_of_a_file_of_seeds_enters_the_key(spec_file: SpecFile, tmp_path: Path) -> None:
    data, policy = Dataset(demonstrations=()), StageFolder.of(tmp_path, {})

    def inputs(**act: Any) -> dict[str, Any]:
        return act_inputs(bound(spec_file, tmp_path, act=act), data, policy)

    assert "seeds" not in inputs()["act"]
    assert inputs() == inputs(first_seed=0)
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text("[1, 2, 3, 4]")
    two.write_text("[1, 2, 3, 4]")
    assert inputs(seeds=str(one)) == inputs(seeds=str(two)) != inputs()
    two.write_text("[1, 2, 3, 5]")
    assert inputs(seeds=str(one)) != inputs(seeds=str(two))


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[7, 100001]", "act.seeds: seed 100001 is also one of the seeds of the demonstrations"),
        ("[1]", "seeds.json: 1 seeds, 1 of them different"),
    ],
)
def test_unusable_seed_file_is_an_error_before_any_work(
    spec_file: SpecFile, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(content)
    spec = read_spec(spec_file(act={"episodes": 2, "seeds": str(path)}))
    with pytest.raises(UserError, match=message):
        check(spec, tmp_path / "root")


def test_seeds_of_scenes_may_be_evaluated_if_their_layouts_are_others(
    spec_file: SpecFile, puppet: Any
) -> None:
    spec = read_spec(spec_file(act={"first_seed": 500_001}))
    info = spec.environment.build().info
    with pytest.raises(UserError, match="seed 500001 is also one of the seeds of the scenes"):
        preflight._check_seeds(spec, info)
    preflight._check_seeds(spec, attrs.evolve(info, scene_seeds=False))
